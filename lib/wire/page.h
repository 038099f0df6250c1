/* The control page: one 4 KiB memfd a rank, mapped by the rank and by the daemon; it outlives
 * the daemon. It tells a rank when to save and the daemon how far the rank is, without a system
 * call.  This file is the layout and the few loads and stores with their memory order; the
 * protocol's rules stand in daemon/model/settle.h (the daemon's half) and lib/client/rank.h (the
 * rank's). Little-endian, natural alignment, every writer's group on its own 128 bytes.  A
 * larger minor adds fields in reserved space only; another major is refused. */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_MAGIC UINT64_C(0x3167617074706b63) /* "ckptpag1" */
#define PAGE_MAJOR 1
#define PAGE_MINOR 0
#define PAGE_BYTES 4096
#define PAGE_SLOTS 8
#define PAGE_NEVER INT64_MAX
#define PAGE_NO_LIFE UINT64_MAX

enum page_flags {
        PAGE_FLAG_SKIP_WHEN_BUSY = 1 << 0,
        PAGE_FLAG_OVER = 1 << 1 /* a rank is gone: slots that are held stay so */
};

/* vacant -> filling -> held by the rank; held -> vacant by the daemon. */
enum page_owner { PAGE_VACANT = 0, PAGE_FILLING = 1, PAGE_HELD = 2 };

struct page_slot {              /* 64 bytes */
        _Atomic uint32_t owner; /* release / acquire */
        uint32_t sum;           /* page_slot_sum of the rest */
        int64_t step;           /* of the state in the slot */
        /* the save_at that it answers; PAGE_NEVER: the job saved by itself */
        int64_t asked;
        int64_t base;     /* the rank's page.base at the copy */
        uint64_t life;    /* the rank's page.life at the copy */
        uint64_t bytes;   /* of the data file in the slot */
        uint64_t copy_ns; /* the job's time lost by the copy */
        uint64_t reserved;
};

struct page {
        struct { /* constant once handed over */
                uint64_t magic;
                uint16_t major, minor;
                uint32_t size;
                uint64_t attach_id;
                uint32_t rank, world_size, n_slots;
                uint8_t pad[92];
        } head;
        struct { /* written by the daemon, release; the rank loads save_at relaxed */
                _Atomic int64_t save_at, stop_at; /* PAGE_NEVER: not wanted */
                _Atomic uint32_t flags;
                uint8_t pad[108];
        } daemon;
        struct { /* written by the rank at every step, relaxed */
                _Atomic int64_t step;
                uint8_t pad[120];
        } now;
        struct {                        /* written by the rank, seldom, release */
                _Atomic uint64_t life;  /* counts attach and roll-back */
                _Atomic int64_t missed; /* the save_at that could not be served, else PAGE_NEVER */
                _Atomic int64_t base;   /* the step restored from; -1: fresh */
                _Atomic int64_t end;    /* step of finish, else PAGE_NEVER */
                uint8_t pad[96];
        } rank;
        struct page_slot slot[PAGE_SLOTS];
        uint8_t reserved[PAGE_BYTES - 512 - PAGE_SLOTS * 64];
};

_Static_assert(sizeof(struct page) == PAGE_BYTES, "the page is one page");
_Static_assert(offsetof(struct page, daemon) == 128, "layout");
_Static_assert(offsetof(struct page, now) == 256, "layout");
_Static_assert(offsetof(struct page, rank) == 384, "layout");
_Static_assert(offsetof(struct page, slot) == 512, "layout");
_Static_assert(sizeof(struct page_slot) == 64, "layout");

/* Fills a zeroed page: never due, nothing missed, step -1, base -1. */
void page_init(struct page *p, uint64_t attach_id, uint32_t rank, uint32_t world_size,
               uint32_t n_slots);
/* 0; -EPROTO: not a page of ours; -EPROTONOSUPPORT: another major. */
int page_check(const struct page *p);
/* A sum over step, asked, base, life, bytes: tells a header torn by a crash. */
uint32_t page_slot_sum(const struct page_slot *s);
