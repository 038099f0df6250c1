#include "catalog-read.h"

#include <errno.h>
#include <string.h>

struct answer_text {
        struct answer_text *next;
        char text[];
};

void catalog_directory_done(struct catalog_directory *d)
{
        free(d->uuid);
        free(d->path);
        free(d->policy);
        free(d->held);
        *d = (struct catalog_directory){0};
}

void catalog_start_done(struct catalog_start *s)
{
        for (size_t i = 0; i < s->n_directories; i++)
                catalog_directory_done(&s->directories[i]);
        free(s->directories);
        free(s->settings);
        *s = (struct catalog_start){0};
}

void catalog_answer_done(struct catalog_answer *a)
{
        struct answer_text *next;

        history_done(&a->rows.checkpoints);
        free(a->events);
        free(a->saves);
        free(a->runs);
        for (struct answer_text *t = a->texts; t; t = next) {
                next = t->next;
                free(t);
        }
        *a = (struct catalog_answer){0};
}

/* A row being taken apart, column by column.  r keeps the first failure, so that takers need no
 * check of their own. */
struct row {
        sqlite3_stmt *statement;
        int column;
        int r;
};

static int64_t take_number(struct row *row)
{
        return sqlite3_column_int64(row->statement, row->column++);
}

/* The bytes of a text column, or NULL for null. */
static const char *take_borrowed(struct row *row)
{
        const char *text = (const char *)sqlite3_column_text(row->statement, row->column);

        if (!text && sqlite3_column_type(row->statement, row->column) != SQLITE_NULL)
                row->r = -ENOMEM;
        row->column++;
        return text;
}

static char *take_text(struct row *row)
{
        const char *text = take_borrowed(row);
        char *copy = text ? strdup(text) : NULL;

        if (text && !copy)
                row->r = -ENOMEM;
        return copy;
}

static const char *keep_text(struct row *row, struct catalog_answer *a)
{
        const char *text = take_borrowed(row);
        size_t n = text ? strlen(text) + 1 : 0;
        struct answer_text *kept = text ? malloc(sizeof(*kept) + n) : NULL;

        if (!kept) {
                row->r = text ? -ENOMEM : row->r;
                return NULL;
        }
        memcpy(kept->text, text, n);
        kept->next = a->texts;
        a->texts = kept;
        return kept->text;
}

/* The place of a text in a NULL-terminated list. */
static int take_name(struct row *row, const char *const *names)
{
        const char *text = take_borrowed(row);

        for (int i = 0; text && names[i]; i++)
                if (strcmp(text, names[i]) == 0)
                        return i;
        row->r = row->r < 0 ? row->r : -EBADMSG;
        return 0;
}

/* Calls take for each row of a statement whose values are bound; resets and unbinds it. */
static int each_row(struct catalog_db *db, enum sql sql, int (*take)(struct row *row, void *to),
                    void *to, struct diag *d)
{
        struct row row;
        int r;

        while ((r = catalog_db_next(db, sql, d)) > 0) {
                row = (struct row){.statement = db->statements[sql]};
                r = take(&row, to);
                if (r < 0) {
                        sqlite3_reset(db->statements[sql]);
                        diag_set(d, r, "a row cannot be read: %s", strerror(-r));
                        break;
                }
        }
        sqlite3_clear_bindings(db->statements[sql]);
        return r;
}

/* One more element, zeroed, behind n; NULL: no memory. */
static void *append(void **array, size_t *n, size_t element_bytes)
{
        bool is_full = (*n & (*n - 1)) == 0;
        void *moved = *array, *element;

        if (is_full)
                moved = reallocarray(*array, *n > 0 ? *n * 2 : 1, element_bytes);
        if (!moved)
                return NULL;
        *array = moved;
        element = (char *)moved + (*n)++ * element_bytes;
        memset(element, 0, element_bytes);
        return element;
}

/* ---- checkpoints ---- */

static int take_checkpoint(struct row *row, void *to)
{
        _cleanup_(checkpoint_freep) struct checkpoint *c = calloc(1, sizeof(*c));

        if (!c)
                return -ENOMEM;
        c->name = take_text(row);
        c->step = take_number(row);
        c->sequence = take_number(row);
        c->run = take_number(row);
        c->save_id = take_number(row);
        c->state = (enum checkpoint_state)take_name(row, checkpoint_state_names);
        c->origin = (enum checkpoint_origin)take_name(row, checkpoint_origin_names);
        c->format = take_text(row);
        c->published_ms = take_number(row);
        c->bytes = (uint64_t)take_number(row);
        c->preserved = take_number(row) != 0;
        c->pin_by = take_text(row);
        c->pin_reason = take_text(row);
        c->replaces = take_text(row);
        return row->r < 0 ? row->r : history_add(to, take_ptr(c));
}

static int take_file(struct row *row, void *to)
{
        struct checkpoint *c = to;
        struct checkpoint_file *f = append((void **)&c->files, &c->n_files, sizeof(*f));

        if (!f)
                return -ENOMEM;
        f->name = take_text(row);
        f->bytes = (uint64_t)take_number(row);
        return row->r;
}

static int read_files(struct catalog_db *db, int64_t directory, struct checkpoint *c,
                      struct diag *d)
{
        sqlite3_stmt *s = db->statements[SQL_LIST_FILES];
        int result;

        sqlite3_bind_int64(s, 1, directory);
        result = sqlite3_bind_text(s, 2, c->name, -1, SQLITE_STATIC);
        if (result != SQLITE_OK)
                return catalog_db_error(db, result, d);
        return each_row(db, SQL_LIST_FILES, take_file, c, d);
}

static int read_checkpoints(struct catalog_db *db, int64_t directory, struct history *h,
                            struct diag *d)
{
        int r;

        sqlite3_bind_int64(db->statements[SQL_LIST_CHECKPOINTS], 1, directory);
        r = each_row(db, SQL_LIST_CHECKPOINTS, take_checkpoint, h, d);
        for (size_t i = 0; i < h->n && r == 0; i++)
                r = read_files(db, directory, h->items[i], d);
        return r;
}

/* ---- one directory ---- */

static int take_last_numbers(struct row *row, void *to)
{
        struct catalog_rows *rows = to;

        rows->last_run = take_number(row);
        rows->last_sequence = take_number(row);
        return row->r;
}

static int take_save(struct row *row, void *to)
{
        struct catalog_answer *a = to;
        struct catalog_save *s = append((void **)&a->saves, &a->rows.n_saves, sizeof(*s));

        if (!s)
                return -ENOMEM;
        s->id = take_number(row);
        s->directory = take_number(row);
        s->run = take_number(row);
        s->step = take_number(row);
        s->reason = keep_text(row, a);
        s->result = keep_text(row, a);
        s->error = keep_text(row, a);
        s->due_ms = take_number(row);
        s->handed_off_ms = take_number(row);
        s->published_ms = take_number(row);
        s->lost_us = take_number(row);
        s->durable_ms = take_number(row);
        s->bytes = (uint64_t)take_number(row);
        return row->r;
}

static int take_run(struct row *row, void *to)
{
        struct catalog_answer *a = to;
        struct catalog_run *run = append((void **)&a->runs, &a->rows.n_runs, sizeof(*run));

        if (!run)
                return -ENOMEM;
        run->run = take_number(row);
        run->job = keep_text(row, a);
        run->pid = take_number(row);
        run->uid = take_number(row);
        run->world_size = take_number(row);
        run->base = take_number(row);
        run->started_ms = take_number(row);
        run->ended_ms = take_number(row);
        run->end_reason = keep_text(row, a);
        run->command = keep_text(row, a);
        return row->r;
}

int catalog_read_directory(struct catalog_db *db, int64_t directory, struct catalog_answer *a,
                           struct diag *d)
{
        int r = read_checkpoints(db, directory, &a->rows.checkpoints, d);

        if (r == 0) {
                sqlite3_bind_int64(db->statements[SQL_LAST_NUMBERS], 1, directory);
                r = each_row(db, SQL_LAST_NUMBERS, take_last_numbers, &a->rows, d);
        }
        if (r == 0) {
                sqlite3_bind_int64(db->statements[SQL_LIST_OPEN_SAVES], 1, directory);
                r = each_row(db, SQL_LIST_OPEN_SAVES, take_save, a, d);
        }
        if (r == 0) {
                sqlite3_bind_int64(db->statements[SQL_LIST_RUNS], 1, directory);
                r = each_row(db, SQL_LIST_RUNS, take_run, a, d);
        }
        a->rows.saves = a->saves;
        a->rows.runs = a->runs;
        return r;
}

/* ---- events ---- */

static int take_event(struct row *row, void *to)
{
        struct catalog_answer *a = to;
        struct catalog_event *e = append((void **)&a->events, &a->rows.n_events, sizeof(*e));

        if (!e)
                return -ENOMEM;
        e->id = take_number(row);
        e->time_ms = take_number(row);
        e->event = keep_text(row, a);
        e->directory = take_number(row);
        e->path = keep_text(row, a);
        e->step = take_number(row);
        e->detail = keep_text(row, a);
        return row->r;
}

int catalog_read_events(struct catalog_db *db, const struct catalog_event_query *q,
                        struct catalog_answer *a, struct diag *d)
{
        enum sql sql = q->directory > 0 ? SQL_LIST_EVENTS_OF : SQL_LIST_EVENTS;
        sqlite3_stmt *s = db->statements[sql];
        int r, result;

        sqlite3_bind_int64(s, 1, q->directory);
        sqlite3_bind_int64(s, 2, q->since_ms);
        sqlite3_bind_int64(s, 3, q->after_id);
        result = sqlite3_bind_text(s, 4, q->event, -1, SQLITE_STATIC);
        if (result != SQLITE_OK)
                return catalog_db_error(db, result, d);
        sqlite3_bind_int64(s, 5, q->limit > 0 ? q->limit : -1);
        r = each_row(db, sql, take_event, a, d);
        a->rows.events = a->events;
        return r;
}

/* ---- start ---- */

static int take_directory(struct row *row, void *to)
{
        struct catalog_start *start = to;
        struct catalog_directory *d =
                append((void **)&start->directories, &start->n_directories, sizeof(*d));

        if (!d)
                return -ENOMEM;
        d->id = take_number(row);
        d->uuid = take_text(row);
        d->path = take_text(row);
        d->device = (uint64_t)take_number(row);
        d->policy = take_text(row);
        d->held = take_text(row);
        d->registered = take_number(row) != 0;
        d->registered_ms = take_number(row);
        d->n_checkpoints = take_number(row);
        d->bytes = (uint64_t)take_number(row);
        d->newest_step = take_number(row);
        d->newest_published_ms = take_number(row);
        return row->r;
}

static int take_setting(struct row *row, void *to)
{
        struct catalog_start *start = to;

        start->settings = take_text(row);
        return row->r;
}

int catalog_read_start(struct catalog_db *db, struct catalog_start *ret, struct diag *d)
{
        struct catalog_start start = {0};
        int r = each_row(db, SQL_LIST_DIRECTORIES, take_directory, &start, d);

        if (r == 0)
                r = catalog_db_number(db, SQL_NEXT_SAVE_ID, &start.next_save_id, d);
        if (r == 0) {
                sqlite3_bind_text(db->statements[SQL_GET_SETTING], 1, "settings", -1,
                                  SQLITE_STATIC);
                r = each_row(db, SQL_GET_SETTING, take_setting, &start, d);
        }
        if (r < 0)
                catalog_start_done(&start);
        else
                *ret = start;
        return r;
}
