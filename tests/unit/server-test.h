/* What the tests of the server share: a server on a socket in a folder of its own, with a handler
 * for every declared method, and clients in the same thread that turn its loop while they wait.
 * Included after cmocka. */
#pragma once

#include "server.h"
#include "wire-test.h"

struct fixture {
        uv_loop_t loop;
        struct rpc_server *server;
        char folder[64], path[96], lock[112];
        int n_handoffs;
        struct rpc_call *waiting; /* of the last Wait */
        struct rpc_call *held[8]; /* of Piece; without on_cancel */
        int n_held, n_cancelled, n_closed;
        bool closed;
};

extern const struct rpc_method jobs[], admin[];
extern const struct rpc_method *const tables[]; /* both */

#define LATEST "{\"method\":\"io.ckptd.Admin.Latest\",\"parameters\":{\"model_dir\":\"/m\"}}"
#define LATEST_REPLY "{\"parameters\":{\"found\":true,\"path\":\"/m\"}}"
#define WAIT "{\"method\":\"io.ckptd.Jobs.Wait\"}"
#define SERVICE "org.varlink.service."

/* Answers with nothing, at once. */
void handle_nothing(struct rpc_call *c, const void *parameters, void *user);

int start(struct fixture *f, struct diag *d);
void stop(struct fixture *f);
int set_up(void **state);
int tear_down(void **state);

struct wire_conn *dial(const struct fixture *f);
void say(struct wire_conn *c, const char *text);
/* Small messages written one by one fill the kernel's buffer long before their bytes do. */
void say_often(struct wire_conn *c, const char *text, int times);
/* Runs the loop until the next message, or the connection's end, is there. */
int hear(struct fixture *f, struct wire_conn *c, struct wire_message *ret);
void expect(struct fixture *f, struct wire_conn *c, const char *text);
void expect_end(struct fixture *f, struct wire_conn *c);
void expect_silence(struct fixture *f, struct wire_conn *c);
/* Runs whatever the loop has to do. */
void turn(struct fixture *f);
