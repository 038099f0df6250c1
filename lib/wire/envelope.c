#include "envelope.h"

#include "cleanup.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

enum member_type { MEMBER_STRING, MEMBER_OBJECT, MEMBER_BOOL };

struct member {
        const char *name;
        enum member_type type;
        size_t offset;
};

static const struct member call_members[] = {
        {"method", MEMBER_STRING, offsetof(struct wire_call, method)},
        {"parameters", MEMBER_OBJECT, offsetof(struct wire_call, parameters)},
        {"oneway", MEMBER_BOOL, offsetof(struct wire_call, oneway)},
        {"more", MEMBER_BOOL, offsetof(struct wire_call, more)},
        {"upgrade", MEMBER_BOOL, offsetof(struct wire_call, upgrade)},
        {0},
};

static const struct member reply_members[] = {
        {"error", MEMBER_STRING, offsetof(struct wire_reply, error)},
        {"parameters", MEMBER_OBJECT, offsetof(struct wire_reply, parameters)},
        {"continues", MEMBER_BOOL, offsetof(struct wire_reply, continues)},
        {0},
};

static int take_member(const struct member *m, json_t *value, void *ret)
{
        char *p = (char *)ret + m->offset;

        if (m->type == MEMBER_STRING && json_is_string(value))
                *(const char **)p = json_string_value(value);
        else if (m->type == MEMBER_OBJECT && json_is_object(value))
                *(json_t **)p = json_object_size(value) > 0 ? value : NULL;
        else if (m->type == MEMBER_BOOL && json_is_boolean(value))
                *(bool *)p = json_is_true(value);
        else
                return -EBADMSG;
        return 0;
}

/* A member that nobody knows is an extension when its name has a dot, else a mistake. */
static int take_members(const struct member *table, json_t *message, void *ret)
{
        const char *name;
        json_t *value;

        json_object_foreach (message, name, value) {
                const struct member *m = table;

                while (m->name && strcmp(m->name, name) != 0)
                        m++;
                if (!m->name && !strchr(name, '.'))
                        return -EBADMSG;
                if (m->name && !json_is_null(value) && take_member(m, value, ret) < 0)
                        return -EBADMSG;
        }
        return 0;
}

int wire_call_parse(json_t *message, struct wire_call *ret)
{
        struct wire_call call = {0};
        int r;

        r = take_members(call_members, message, &call);
        if (r < 0)
                return r;
        if (!call.method || call.oneway + call.more + call.upgrade > 1)
                return -EBADMSG;
        *ret = call;
        return 0;
}

int wire_reply_parse(json_t *message, struct wire_reply *ret)
{
        struct wire_reply reply = {0};
        int r;

        r = take_members(reply_members, message, &reply);
        if (r < 0)
                return r;
        if (reply.error && reply.continues)
                return -EBADMSG;
        *ret = reply;
        return 0;
}

/* Adds what is there: a name, the parameters (stolen), a flag. */
static json_t *format(const char *key, const char *value, json_t *parameters, const char *flag)
{
        json_t *message = json_object();
        int r = message ? 0 : -1;

        if (r == 0 && key)
                r = json_object_set_new_nocheck(message, key, json_string(value));
        if (r == 0 && json_object_size(parameters) > 0)
                r = json_object_set_nocheck(message, "parameters", parameters);
        if (r == 0 && flag)
                r = json_object_set_new_nocheck(message, flag, json_true());
        json_decref(parameters);
        if (r < 0) {
                json_decref(message);
                return NULL;
        }
        return message;
}

json_t *wire_call_format(const char *method, json_t *parameters, const char *flag)
{
        return format("method", method, parameters, flag);
}

json_t *wire_reply_format(const char *error, json_t *parameters, bool continues)
{
        return format(error ? "error" : NULL, error, parameters, continues ? "continues" : NULL);
}
