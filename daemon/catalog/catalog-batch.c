#include "catalog-batch.h"

#include <errno.h>
#include <string.h>

enum value_kind { VALUE_NULL, VALUE_NUMBER, VALUE_TEXT };

struct catalog_value {
        enum value_kind kind;
        int64_t number; /* or where in batch->text it starts */
};

struct catalog_op {
        enum sql sql;
        size_t first, n; /* of batch->values */
};

void catalog_batch_done(struct catalog_batch *b)
{
        free(b->ops);
        free(b->values);
        buffer_done(&b->text);
        *b = (struct catalog_batch){0};
}

/* Room for one more element; the array, moved perhaps, or NULL: no memory. */
static void *grow(void *array, size_t n, size_t *cap, size_t element_bytes)
{
        size_t more = *cap > 0 ? *cap * 2 : 16;
        void *moved = array;

        if (n == *cap) {
                moved = reallocarray(array, more, element_bytes);
                if (moved)
                        *cap = more;
        }
        return moved;
}

/* False: nothing more is taken in. */
static bool add_op(struct catalog_batch *b, enum sql sql)
{
        struct catalog_op *ops;

        if (!b || b->r < 0)
                return false;
        ops = grow(b->ops, b->n_ops, &b->ops_cap, sizeof(*ops));
        if (!ops) {
                b->r = -ENOMEM;
                return false;
        }
        b->ops = ops;
        ops[b->n_ops++] = (struct catalog_op){.sql = sql, .first = b->n_values};
        return true;
}

static void add_value(struct catalog_batch *b, struct catalog_value value)
{
        struct catalog_value *values;

        if (b->r < 0)
                return;
        values = grow(b->values, b->n_values, &b->values_cap, sizeof(*values));
        if (!values) {
                b->r = -ENOMEM;
                return;
        }
        b->values = values;
        values[b->n_values++] = value;
        b->ops[b->n_ops - 1].n++;
}

static void add_number(struct catalog_batch *b, int64_t number)
{
        add_value(b, (struct catalog_value){.kind = VALUE_NUMBER, .number = number});
}

static void add_text(struct catalog_batch *b, const char *text)
{
        struct catalog_value value = {.kind = VALUE_TEXT, .number = (int64_t)b->text.len};

        if (!text)
                value = (struct catalog_value){.kind = VALUE_NULL};
        else if (b->r == 0)
                b->r = buffer_append(&b->text, text, strlen(text) + 1);
        add_value(b, value);
}

void catalog_put_directory(struct catalog_batch *b, struct catalog_directory *d)
{
        int64_t id;

        if (!b)
                return;
        id = catalog_ids_get(b->ids, d->uuid);
        if (id < 0 || !add_op(b, SQL_PUT_DIRECTORY)) {
                b->r = -ENOMEM;
                return;
        }
        d->id = id;
        add_number(b, id);
        add_text(b, d->uuid);
        add_text(b, d->path);
        add_number(b, (int64_t)d->device);
        add_text(b, d->policy);
        add_text(b, d->held);
        add_number(b, d->registered);
        add_number(b, d->registered_ms);
}

void catalog_put_run(struct catalog_batch *b, const struct catalog_run *r)
{
        if (!add_op(b, SQL_PUT_RUN))
                return;
        add_number(b, r->directory);
        add_number(b, r->run);
        add_text(b, r->job);
        add_number(b, r->pid);
        add_number(b, r->uid);
        add_number(b, r->world_size);
        add_number(b, r->base);
        add_number(b, r->started_ms);
        add_number(b, r->ended_ms);
        add_text(b, r->end_reason);
        add_text(b, r->command);
}

static void add_files(struct catalog_batch *b, int64_t directory, const struct checkpoint *c)
{
        if (!add_op(b, SQL_REMOVE_FILES))
                return;
        add_number(b, directory);
        add_text(b, c->name);
        for (size_t i = 0; i < c->n_files && add_op(b, SQL_PUT_FILE); i++) {
                add_number(b, directory);
                add_text(b, c->name);
                add_number(b, (int64_t)i);
                add_text(b, c->files[i].name);
                add_number(b, (int64_t)c->files[i].bytes);
        }
}

void catalog_put_checkpoint(struct catalog_batch *b, int64_t directory, const struct checkpoint *c)
{
        if (!add_op(b, SQL_PUT_CHECKPOINT))
                return;
        add_number(b, directory);
        add_text(b, c->name);
        add_number(b, c->step);
        add_number(b, c->sequence);
        add_number(b, c->run);
        add_number(b, c->save_id);
        add_text(b, checkpoint_state_names[c->state]);
        add_text(b, checkpoint_origin_names[c->origin]);
        add_text(b, c->format);
        add_number(b, c->published_ms);
        add_number(b, (int64_t)c->bytes);
        add_number(b, c->preserved);
        add_text(b, c->pin_by);
        add_text(b, c->pin_reason);
        add_text(b, c->replaces);
        add_files(b, directory, c);
}

void catalog_put_save(struct catalog_batch *b, const struct catalog_save *s)
{
        if (!add_op(b, SQL_PUT_SAVE))
                return;
        add_number(b, s->id);
        add_number(b, s->directory);
        add_number(b, s->run);
        add_number(b, s->step);
        add_text(b, s->reason);
        add_text(b, s->result);
        add_text(b, s->error);
        add_number(b, s->due_ms);
        add_number(b, s->handed_off_ms);
        add_number(b, s->published_ms);
        add_number(b, s->lost_us);
        add_number(b, s->durable_ms);
        add_number(b, (int64_t)s->bytes);
}

void catalog_add_event(struct catalog_batch *b, const struct catalog_event *e)
{
        if (!add_op(b, SQL_ADD_EVENT))
                return;
        add_number(b, e->time_ms);
        add_text(b, e->event);
        add_number(b, e->directory);
        add_number(b, e->step);
        add_text(b, e->detail);
}

void catalog_put_setting(struct catalog_batch *b, const char *key, const char *value)
{
        if (!add_op(b, value ? SQL_PUT_SETTING : SQL_REMOVE_SETTING))
                return;
        add_text(b, key);
        if (value)
                add_text(b, value);
}

void catalog_remove_directory(struct catalog_batch *b, int64_t directory)
{
        if (add_op(b, SQL_REMOVE_DIRECTORY))
                add_number(b, directory);
}

void catalog_remove_before(struct catalog_batch *b, int64_t time_ms)
{
        static const enum sql removals[] = {SQL_REMOVE_EVENTS_BEFORE, SQL_REMOVE_SAVES_BEFORE,
                                            SQL_REMOVE_CHECKPOINTS_BEFORE};

        for (size_t i = 0; i < ARRAY_SIZE(removals) && add_op(b, removals[i]); i++)
                add_number(b, time_ms);
}

static int bind(const struct catalog_batch *b, const struct catalog_value *v, sqlite3_stmt *s,
                int i)
{
        if (v->kind == VALUE_NULL)
                return sqlite3_bind_null(s, i);
        if (v->kind == VALUE_NUMBER)
                return sqlite3_bind_int64(s, i, v->number);
        return sqlite3_bind_text(s, i, (const char *)b->text.data + v->number, -1, SQLITE_STATIC);
}

static int write_op(const struct catalog_batch *b, const struct catalog_op *op,
                    struct catalog_db *db, struct diag *d)
{
        sqlite3_stmt *s = db->statements[op->sql];
        int result = SQLITE_OK, r;

        for (size_t i = 0; i < op->n && result == SQLITE_OK; i++)
                result = bind(b, &b->values[op->first + i], s, (int)i + 1);
        r = catalog_db_error(db, result, d);
        if (r == 0)
                r = catalog_db_run(db, op->sql, d);
        sqlite3_clear_bindings(s);
        return r;
}

int catalog_batch_write(const struct catalog_batch *b, struct catalog_db *db, struct diag *d)
{
        int r = catalog_db_run(db, SQL_BEGIN, d);

        if (r < 0)
                return r;
        for (size_t i = 0; i < b->n_ops && r == 0; i++)
                r = write_op(b, &b->ops[i], db, d);
        if (r == 0)
                r = catalog_db_run(db, SQL_COMMIT, d);
        /* A commit that failed may have left the transaction open; an I/O error has ended it. */
        if (r < 0 && !sqlite3_get_autocommit(db->handle))
                catalog_db_run(db, SQL_ROLLBACK, NULL);
        return r;
}
