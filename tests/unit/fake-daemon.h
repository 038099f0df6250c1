/* A daemon for libckpt's tests: one thread that answers io.ckptd.Jobs for one rank, keeps a log
 * of the calls, and dies and comes back when the test says so.  It writes no file and decides
 * nothing. */
#pragma once

#include "conn.h"
#include "page.h"

#include <pthread.h>
#include <stdbool.h>

#define FAKE_CONNS 8
#define FAKE_LOG_BYTES 8192

struct fake_slot {
        int fd;
        uint8_t *memory;
        uint64_t bytes;
};

struct fake {
        /* what it does; set before the call that it is about */
        const char *mode;          /* NULL: "slots" */
        size_t n_slots;            /* 0: 2 */
        uint64_t window_bytes;     /* of the slot, in mode window */
        const char *refuse;        /* an error's name for Attach, NULL: none */
        json_t *refuse_parameters; /* borrowed */
        bool adopts;               /* takes page and slots that are offered */
        bool silent;               /* does not answer Attach */
        const char *message;       /* in the reply to Attach */
        bool saves_at_end;         /* Finish asks for a last save */
        const char *wait_error;    /* SaveFailed's message for Wait */
        int64_t restore_step;      /* negative: nothing was ever saved */
        int restore_slot;          /* negative: in a memory file */
        const uint8_t *restore_data;
        bool restore_partial; /* the first tensor is not there */
        const char *restore_error;
        /* what it has */
        char dir[64], path[96];
        struct page *page;
        int page_fd;
        struct fake_slot slots[PAGE_SLOTS];
        int64_t *offsets; /* 64 bytes aligned */
        size_t n_tensors;
        uint64_t data_bytes;
        char *manifest;           /* JSON text */
        json_t *attach;           /* parameters of the last Attach */
        uint8_t *file;            /* what came through the window */
        char log[FAKE_LOG_BYTES]; /* "Attach;HandOff 5;HandOff 7 forced;…" */
        /* its own */
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t logged;
        int listener, wake_fd;
        bool stop;
        struct wire_conn *conns[FAKE_CONNS], *finishing;
        int64_t finish_step;
};

void fake_init(struct fake *f);
void fake_done(struct fake *f);
void fake_start(struct fake *f);
void fake_stop(struct fake *f);   /* it dies: connections are closed, memory stays */
void fake_forget(struct fake *f); /* and page and slots are gone */
void fake_wait(struct fake *f, const char *text); /* until the log has it; fails after 20 s */
int fake_count(struct fake *f, const char *text); /* how often the log has it */
void fake_announce(struct fake *f, int64_t save_at);
void fake_vacate(struct fake *f);
