#include "ctl-table.h"

#include "buffer.h"
#include "ctl-text.h"
#include "units.h"

#include <errno.h>
#include <libsmartcols.h>
#include <string.h>

#define COLUMN_GAP "  "
#define COLOR_BAD "\033[1;31m"

DEFINE_FREEP(struct libscols_table, scols_unref_table)

static char *text_string(const json_t *v)
{
        return json_is_string(v) ? strdup(json_string_value(v)) : NULL;
}

static char *text_count(const json_t *v)
{
        char *out;

        if (!json_is_integer(v) ||
            asprintf(&out, "%" JSON_INTEGER_FORMAT, json_integer_value(v)) < 0)
                return NULL;
        return out;
}

static char *text_rate(const json_t *v)
{
        double rate = json_number_value(v);
        int decimals = rate >= 100 ? 0 : rate >= 10 ? 1 : rate >= 0.1 || rate <= 0 ? 2 : 4;
        char *out;

        return json_is_number(v) && asprintf(&out, "%.*f", decimals, rate) >= 0 ? out : NULL;
}

static char *text_size(const json_t *v)
{
        char out[UNITS_TEXT_MAX];

        if (!json_is_integer(v))
                return NULL;
        return strdup(units_format_size(out, (uint64_t)json_integer_value(v)));
}

static char *text_time(const json_t *v)
{
        char out[CTL_TIME_MAX];

        return json_is_integer(v) ? strdup(ctl_format_time(out, json_integer_value(v))) : NULL;
}

static char *text_duration(const json_t *v)
{
        char out[UNITS_TEXT_MAX];

        return json_is_integer(v) ? strdup(units_format_duration(out, json_integer_value(v)))
                                  : NULL;
}

static char *text_bool(const json_t *v)
{
        return json_is_boolean(v) ? strdup(json_is_true(v) ? "yes" : "no") : NULL;
}

static char *text_list(const json_t *v)
{
        _cleanup_(buffer_done) struct buffer b = {0};
        size_t i;
        json_t *item;

        json_array_foreach (v, i, item)
                if (json_is_string(item) &&
                    buffer_printf(&b, "%s%s", i ? ", " : "", json_string_value(item)) < 0)
                        return NULL;
        return b.len ? buffer_take(&b) : NULL;
}

char *ctl_shape_text(const json_t *shape)
{
        _cleanup_(buffer_done) struct buffer b = {0};
        size_t i;
        json_t *item;

        if (!json_is_array(shape) || buffer_printf(&b, "[") < 0)
                return NULL;
        json_array_foreach (shape, i, item)
                if (buffer_printf(&b, "%s%" JSON_INTEGER_FORMAT, i ? "," : "",
                                  json_integer_value(item)) < 0)
                        return NULL;
        return buffer_printf(&b, "]") < 0 ? NULL : buffer_take(&b);
}

static json_t *json_same(const json_t *v)
{
        return json_incref((json_t *)v);
}

static json_t *json_time(const json_t *v)
{
        char out[CTL_TIME_MAX];

        return json_is_integer(v) ? json_string(ctl_format_rfc3339(out, json_integer_value(v)))
                                  : json_same(v);
}

static const struct {
        bool right;
        char *(*text)(const json_t *v);
        json_t *(*json)(const json_t *v);
} types[] = {
        [CTL_TEXT] = {false, text_string, json_same},
        [CTL_STATE] = {false, text_string, json_same},
        [CTL_COUNT] = {true, text_count, json_same},
        [CTL_RATE] = {true, text_rate, json_same},
        [CTL_SIZE] = {true, text_size, json_same},
        [CTL_TIME] = {false, text_time, json_time},
        [CTL_DURATION] = {true, text_duration, json_same},
        [CTL_BOOL] = {false, text_bool, json_same},
        [CTL_LIST] = {false, text_list, json_same},
        [CTL_SHAPE] = {false, ctl_shape_text, json_same},
};

static const char *const good_states[] = {"-", "ok", "whole", "opening", "attaching"};

static const json_t *cell(const struct ctl_column *c, const json_t *row)
{
        return json_object_get(row, c->from ? c->from : c->key);
}

static char *cell_text(const struct ctl_column *c, const json_t *row)
{
        return c->text ? c->text(row) : types[c->type].text(cell(c, row));
}

static bool has_any(const struct ctl_column *c, const json_t *rows)
{
        size_t i;
        json_t *row;

        json_array_foreach (rows, i, row)
                if (cell(c, row) && !json_is_null(cell(c, row)))
                        return true;
        return false;
}

static bool is_end(const struct ctl_column *c)
{
        return !c->title && !c->key;
}

static bool is_shown(const struct ctl_table *t, const struct ctl_column *c)
{
        if (!c->title || (t->without && strcmp(t->without, c->title) == 0))
                return false;
        return !c->if_any || has_any(c, t->rows);
}

static bool is_bad(const struct ctl_column *c, const char *text)
{
        if (c->type != CTL_STATE)
                return false;
        for (size_t i = 0; i < ARRAY_SIZE(good_states); i++)
                if (strcmp(text, good_states[i]) == 0)
                        return false;
        return true;
}

struct shown { /* the columns of one table */
        size_t n;
        const struct ctl_column *at[CTL_COLUMNS_MAX];
};

static void list_shown(const struct ctl_table *t, struct shown *ret)
{
        ret->n = 0;
        for (const struct ctl_column *c = t->columns; !is_end(c); c++)
                if (ret->n < CTL_COLUMNS_MAX && is_shown(t, c))
                        ret->at[ret->n++] = c;
}

static int fill_line(const struct ctl_table *t, const struct shown *shown,
                     struct libscols_line *line, const json_t *row)
{
        for (size_t i = 0; i < shown->n; i++) {
                const struct ctl_column *c = shown->at[i];
                char *text = cell_text(c, row);

                if (!text)
                        text = strdup("-");
                if (!text || scols_line_refer_data(line, i, text) < 0) {
                        free(text);
                        return -ENOMEM;
                }
                if (t->color && is_bad(c, text))
                        scols_cell_set_color(scols_line_get_cell(line, i), COLOR_BAD);
        }
        return 0;
}

static int add_columns(const struct shown *shown, struct libscols_table *table)
{
        for (size_t i = 0; i < shown->n; i++) {
                const struct ctl_column *c = shown->at[i];

                if (!scols_table_new_column(table, c->title, 0,
                                            types[c->type].right ? SCOLS_FL_RIGHT : 0))
                        return -ENOMEM;
        }
        return 0;
}

static struct libscols_table *new_table(FILE *f, bool color)
{
        struct libscols_table *table = scols_new_table();

        if (!table)
                return NULL;
        scols_table_set_stream(table, f);
        scols_table_set_column_separator(table, COLUMN_GAP);
        scols_table_enable_colors(table, color);
        /* A cell is never cut to the terminal's width: paths are there to be copied. */
        scols_table_set_termforce(table, SCOLS_TERMFORCE_NEVER);
        return table;
}

int ctl_table_print(FILE *f, const struct ctl_table *t)
{
        _cleanup_(scols_unref_tablep) struct libscols_table *table = new_table(f, t->color);
        struct shown shown;
        size_t i;
        json_t *row;
        int r;

        if (!table)
                return -ENOMEM;
        list_shown(t, &shown);
        r = add_columns(&shown, table);
        json_array_foreach (t->rows, i, row) {
                struct libscols_line *line = r < 0 ? NULL : scols_table_new_line(table, NULL);

                if (!line || fill_line(t, &shown, line, row) < 0)
                        return -ENOMEM;
        }
        return r < 0 ? r : scols_print_table(table);
}

json_t *ctl_table_row_json(const struct ctl_column *columns, const json_t *row)
{
        _cleanup_(json_decrefp) json_t *object = json_object();

        for (const struct ctl_column *c = columns; !is_end(c); c++) {
                const json_t *v = c->key ? cell(c, row) : NULL;

                if (v && !json_is_null(v) &&
                    json_object_set_new(object, c->key, types[c->type].json(v)) < 0)
                        return NULL;
        }
        return take_ptr(object);
}

json_t *ctl_table_json(const struct ctl_table *t)
{
        _cleanup_(json_decrefp) json_t *array = json_array();
        size_t i;
        json_t *row;

        json_array_foreach (t->rows, i, row)
                if (json_array_append_new(array, ctl_table_row_json(t->columns, row)) < 0)
                        return NULL;
        return take_ptr(array);
}
