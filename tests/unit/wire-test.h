/* What the tests of wire and rpc share: socket pairs, messages as JSON text, descriptors told
 * apart. Included after cmocka; owns nothing. */
#pragma once

#include "conn.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

static inline void make_pair(int ret[2])
{
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret), 0);
}

static inline json_t *json_of(const char *text)
{
        json_t *json = json_loads(text, 0, NULL);

        assert_non_null(json);
        return json;
}

static inline void send_text(struct wire_conn *c, const char *text, const int *fds, size_t n_fds)
{
        json_t *json = json_of(text);

        assert_int_equal(wire_conn_send(c, json, fds, n_fds), 0);
        json_decref(json);
}

/* Compares with the text of a JSON value; members in any order. */
static inline void assert_json(const json_t *json, const char *text)
{
        json_t *wanted = json_of(text);
        char *got = json_dumps(json, JSON_ENCODE_ANY | JSON_SORT_KEYS);

        if (!json_equal(json, wanted))
                fail_msg("%s instead of %s", got ? got : "nothing", text);
        free(got);
        json_decref(wanted);
}
