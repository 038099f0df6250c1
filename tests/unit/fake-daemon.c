#include "fake-daemon.h"

#include "buffer.h"
#include "dtype.h"
#include "envelope.h"
#include "fds.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <cmocka.h>

#define ATTACH_ID 4711
#define LOOK_MS 2
#define PATIENCE_SECONDS 20

/* ---- log ---- */

static void note(struct fake *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(struct fake *f, const char *format, ...)
{
        size_t n;
        va_list ap;

        pthread_mutex_lock(&f->lock);
        n = strlen(f->log);
        va_start(ap, format);
        vsnprintf(f->log + n, sizeof(f->log) - n, format, ap);
        va_end(ap);
        pthread_cond_broadcast(&f->logged);
        pthread_mutex_unlock(&f->lock);
}

void fake_wait(struct fake *f, const char *text)
{
        struct timespec t;
        int r = 0;

        clock_gettime(CLOCK_REALTIME, &t);
        t.tv_sec += PATIENCE_SECONDS;
        pthread_mutex_lock(&f->lock);
        while (!strstr(f->log, text) && r == 0)
                r = pthread_cond_timedwait(&f->logged, &f->lock, &t);
        pthread_mutex_unlock(&f->lock);
        if (r != 0)
                fail_msg("the daemon never saw \"%s\", only \"%s\"", text, f->log);
}

int fake_count(struct fake *f, const char *text)
{
        int n = 0;

        pthread_mutex_lock(&f->lock);
        for (const char *p = f->log; (p = strstr(p, text)); p++)
                n++;
        pthread_mutex_unlock(&f->lock);
        return n;
}

/* ---- page, layout, slots ---- */

static void *map(int fd, uint64_t bytes)
{
        return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

static void drop_slots(struct fake *f)
{
        for (size_t i = 0; i < PAGE_SLOTS; i++) {
                if (!f->slots[i].memory)
                        continue;
                munmap(f->slots[i].memory, f->slots[i].bytes);
                close(f->slots[i].fd);
                f->slots[i] = (struct fake_slot){0};
        }
}

static void make_slots(struct fake *f)
{
        bool window = f->mode && !strcmp(f->mode, "window");
        size_t n = window ? 1 : f->n_slots > 0 ? f->n_slots : 2;

        drop_slots(f);
        for (size_t i = 0; i < n; i++) {
                struct fake_slot *s = &f->slots[i];

                s->bytes = window ? f->window_bytes : (f->data_bytes + 4095) / 4096 * 4096;
                s->fd = fds_memfd_new("fake-slot", s->bytes);
                s->memory = map(s->fd, s->bytes);
                atomic_store(&f->page->slot[i].owner, PAGE_VACANT);
        }
        free(f->file);
        f->file = calloc(1, f->data_bytes + 1);
}

static void make_page(struct fake *f)
{
        f->page_fd = fds_memfd_new("fake-page", PAGE_BYTES);
        f->page = map(f->page_fd, PAGE_BYTES);
        page_init(f->page, ATTACH_ID, 0, 1, 2);
}

static uint64_t bytes_of(json_t *tensor)
{
        json_t *shape = json_object_get(tensor, "shape"), *size;
        uint64_t n = dtype_by_name(json_string_value(json_object_get(tensor, "dtype")))->bytes;
        size_t i;

        json_array_foreach (shape, i, size)
                n *= (uint64_t)json_integer_value(size);
        return n;
}

static void lay_out(struct fake *f, int manifest_fd)
{
        struct buffer text = {0};
        json_t *all, *tensor;
        size_t i;

        assert_int_equal(fds_read_all(manifest_fd, 1 << 24, &text), 0);
        close(manifest_fd);
        free(f->manifest);
        free(f->offsets);
        all = json_loads((const char *)text.data, 0, NULL);
        f->manifest = buffer_take(&text);
        f->n_tensors = json_array_size(all);
        f->offsets = calloc(f->n_tensors + 1, sizeof(*f->offsets));
        f->data_bytes = 0;
        json_array_foreach (all, i, tensor) {
                f->offsets[i] = (int64_t)f->data_bytes;
                f->data_bytes += (bytes_of(tensor) + 63) / 64 * 64;
        }
        json_decref(all);
}

/* ---- answers ---- */

struct answer {
        json_t *p;
        int fds[8];
        size_t n_fds;
};

static int64_t add_fd(struct answer *a, int fd)
{
        a->fds[a->n_fds] = fd;
        return (int64_t)a->n_fds++;
}

static void send_answer(struct wire_conn *conn, struct answer *a, const char *error)
{
        json_t *reply = wire_reply_format(error, a->p, false);

        wire_conn_send(conn, reply, a->fds, a->n_fds);
        wire_conn_flush(conn);
        json_decref(reply);
}

static void add_layout(struct fake *f, struct answer *a)
{
        json_t *slots = json_array();

        json_object_set_new(a->p, "mode", json_string(f->mode ? f->mode : "slots"));
        json_object_set_new(a->p, "data_bytes", json_integer((json_int_t)f->data_bytes));
        json_object_set_new(
                a->p, "layout_fd",
                json_integer(add_fd(a, fds_memfd_of("layout", f->offsets, f->n_tensors * 8))));
        for (size_t i = 0; f->slots[i].memory; i++)
                json_array_append_new(slots,
                                      json_pack("{s:I, s:I}", "fd", add_fd(a, dup(f->slots[i].fd)),
                                                "bytes", (json_int_t)f->slots[i].bytes));
        json_object_set_new(a->p, "slots", slots);
        json_object_set_new(a->p, "messages",
                            f->message ? json_pack("[s, s]", f->message, "two") : json_array());
}

static void take_back(struct fake *f, struct wire_message *m, json_t *p)
{
        json_t *slots = json_object_get(p, "slot_fds"), *index;
        size_t i;

        f->page_fd = wire_message_take_fd(m, json_integer_value(json_object_get(p, "page_fd")));
        f->page = map(f->page_fd, PAGE_BYTES);
        json_array_foreach (slots, i, index) {
                f->slots[i].fd = wire_message_take_fd(m, json_integer_value(index));
                f->slots[i].bytes = (f->data_bytes + 4095) / 4096 * 4096;
                f->slots[i].memory = map(f->slots[i].fd, f->slots[i].bytes);
        }
}

static void on_attach(struct fake *f, struct wire_conn *conn, struct wire_message *m, json_t *p)
{
        bool adopts = f->adopts && json_object_get(p, "page_fd") && !f->page;
        struct answer a = {0};

        json_decref(f->attach);
        f->attach = json_deep_copy(p);
        if (f->refuse) {
                a.p = json_deep_copy(f->refuse_parameters);
                send_answer(conn, &a, f->refuse);
                return;
        }
        a.p = json_pack("{s:I, s:i}", "attach", (json_int_t)ATTACH_ID, "run", 1);
        if (json_is_true(json_object_get(p, "read_only"))) {
                json_object_update_new(a.p, json_pack("{s:s, s:[]}", "mode", "reader", "messages"));
                send_answer(conn, &a, NULL);
                return;
        }
        lay_out(f, wire_message_take_fd(m, json_integer_value(json_object_get(p, "manifest_fd"))));
        if (adopts) {
                take_back(f, m, p);
                json_object_update_new(a.p, json_pack("{s:s, s:[]}", "mode", "slots", "messages"));
        } else {
                if (!f->page)
                        make_page(f);
                make_slots(f);
                json_object_set_new(a.p, "page_fd", json_integer(add_fd(&a, dup(f->page_fd))));
                add_layout(f, &a);
        }
        send_answer(conn, &a, NULL);
}

static void on_describe(struct fake *f, struct wire_conn *conn, struct wire_message *m, json_t *p)
{
        struct answer a = {.p = json_object()};

        lay_out(f, wire_message_take_fd(m, json_integer_value(json_object_get(p, "manifest_fd"))));
        make_slots(f);
        add_layout(f, &a);
        send_answer(conn, &a, NULL);
}

static void on_piece(struct fake *f, struct wire_conn *conn, json_t *p)
{
        struct answer a = {0};
        json_int_t offset, bytes;

        json_unpack(p, "{s:I, s:I}", "offset", &offset, "bytes", &bytes);
        memcpy(f->file + offset, f->slots[0].memory, (size_t)bytes);
        send_answer(conn, &a, NULL);
}

static void on_restore(struct fake *f, struct wire_conn *conn)
{
        struct answer a = {0};

        if (f->restore_error) {
                a.p = json_pack("{s:s}", "message", "the reason");
                send_answer(conn, &a, f->restore_error);
                return;
        }
        a.p = json_pack("{s:b}", "found", f->restore_step >= 0);
        if (f->restore_step >= 0) {
                int64_t *places = calloc(f->n_tensors + 1, sizeof(*places));

                memcpy(places, f->offsets, f->n_tensors * sizeof(*places));
                if (f->restore_partial)
                        places[0] = -1;
                json_object_set_new(a.p, "step", json_integer(f->restore_step));
                json_object_set_new(a.p, "data_bytes", json_integer((json_int_t)f->data_bytes));
                if (f->restore_slot >= 0)
                        json_object_set_new(a.p, "slot", json_integer(f->restore_slot));
                else
                        json_object_set_new(
                                a.p, "data_fd",
                                json_integer(add_fd(
                                        &a, fds_memfd_of("data", f->restore_data, f->data_bytes))));
                json_object_set_new(
                        a.p, "map_fd",
                        json_integer(add_fd(&a, fds_memfd_of("map", places, f->n_tensors * 8))));
                json_object_set_new(a.p, "stored_fd",
                                    json_integer(add_fd(&a, fds_memfd_of("stored", f->manifest,
                                                                         strlen(f->manifest)))));
                free(places);
        }
        send_answer(conn, &a, NULL);
}

static void on_wait(struct fake *f, struct wire_conn *conn, json_t *p)
{
        struct answer a = {0};
        json_t *step = json_object_get(p, "step");

        if (f->wait_error)
                a.p = json_pack("{s:O, s:s}", "step", step, "message", f->wait_error);
        else
                a.p = json_pack("{s:O, s:s}", "step", step, "path", "/model.ckpt");
        send_answer(conn, &a, f->wait_error ? "io.ckptd.Jobs.SaveFailed" : NULL);
}

static void on_finish(struct fake *f, struct wire_conn *conn, json_t *p)
{
        struct answer a = {.p = json_pack("{s:b}", "saved", 0)};

        f->finish_step = json_integer_value(json_object_get(p, "step"));
        if (!f->saves_at_end) {
                send_answer(conn, &a, NULL);
                return;
        }
        json_decref(a.p);
        f->finishing = conn;
        fake_announce(f, f->finish_step);
}

static void look_at_finish(struct fake *f)
{
        struct answer a = {0};

        for (size_t i = 0; f->finishing && f->slots[i].memory; i++)
                if (atomic_load(&f->page->slot[i].owner) == PAGE_HELD &&
                    f->page->slot[i].asked == f->finish_step) {
                        note(f, "Saved %lld;", (long long)f->page->slot[i].step);
                        a.p = json_pack("{s:b, s:s}", "saved", 1, "path", "/model.ckpt");
                        send_answer(f->finishing, &a, NULL);
                        f->finishing = NULL;
                }
}

static void dispatch(struct fake *f, struct wire_conn *conn, struct wire_message *m)
{
        struct wire_call call;
        struct answer nothing = {0};
        const char *name;
        json_t *p, *step;

        assert_int_equal(wire_call_parse(m->json, &call), 0);
        p = call.parameters;
        name = strrchr(call.method, '.') + 1;
        step = json_object_get(p, "step");
        if (json_is_integer(step))
                note(f, "%s %lld%s;", name, (long long)json_integer_value(step),
                     json_is_true(json_object_get(p, "forced")) ? " forced" : "");
        else
                note(f, "%s;", name);
        if (!strcmp(name, "Attach") && !f->silent)
                on_attach(f, conn, m, p);
        else if (!strcmp(name, "Describe"))
                on_describe(f, conn, m, p);
        else if (!strcmp(name, "Piece"))
                on_piece(f, conn, p);
        else if (!strcmp(name, "Restore"))
                on_restore(f, conn);
        else if (!strcmp(name, "Wait"))
                on_wait(f, conn, p);
        else if (!strcmp(name, "Finish"))
                on_finish(f, conn, p);
        else if (!strcmp(name, "Restored") || !strcmp(name, "Detach"))
                send_answer(conn, &nothing, NULL);
}

/* ---- the thread ---- */

static void serve(struct fake *f, struct wire_conn **conn)
{
        struct wire_message m;
        int r = wire_conn_receive(*conn);

        while (r >= 0 && wire_conn_next(*conn, &m) == 1) {
                dispatch(f, *conn, &m);
                wire_message_done(&m);
        }
        if (r < 0) {
                if (f->finishing == *conn)
                        f->finishing = NULL;
                wire_conn_free(*conn);
                *conn = NULL;
        }
}

static void accept_one(struct fake *f)
{
        int fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);

        for (size_t i = 0; i < FAKE_CONNS; i++)
                if (!f->conns[i]) {
                        assert_int_equal(wire_conn_new(&f->conns[i], fd), 0);
                        return;
                }
        close(fd);
}

static void *run(void *user)
{
        struct fake *f = user;

        for (;;) {
                struct pollfd p[2 + FAKE_CONNS] = {{.fd = f->wake_fd, .events = POLLIN},
                                                   {.fd = f->listener, .events = POLLIN}};

                for (size_t i = 0; i < FAKE_CONNS; i++)
                        p[2 + i] =
                                (struct pollfd){.fd = f->conns[i] ? wire_conn_fd(f->conns[i]) : -1,
                                                .events = POLLIN};
                poll(p, 2 + FAKE_CONNS, f->finishing ? LOOK_MS : -1);
                if (p[0].revents)
                        return NULL;
                if (p[1].revents)
                        accept_one(f);
                for (size_t i = 0; i < FAKE_CONNS; i++)
                        if (p[2 + i].revents && f->conns[i])
                                serve(f, &f->conns[i]);
                look_at_finish(f);
        }
}

/* ---- life ---- */

void fake_init(struct fake *f)
{
        *f = (struct fake){.restore_step = -1, .restore_slot = -1, .page_fd = -1, .listener = -1};
        pthread_mutex_init(&f->lock, NULL);
        pthread_cond_init(&f->logged, NULL);
        snprintf(f->dir, sizeof(f->dir), "/tmp/ckpt-test-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        snprintf(f->path, sizeof(f->path), "%s/sock", f->dir);
        f->wake_fd = eventfd(0, EFD_CLOEXEC);
}

void fake_start(struct fake *f)
{
        struct sockaddr_un a = {.sun_family = AF_UNIX};

        snprintf(a.sun_path, sizeof(a.sun_path), "%s", f->path);
        unlink(f->path);
        f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(f->listener, (struct sockaddr *)&a, sizeof(a)), 0);
        assert_int_equal(listen(f->listener, 8), 0);
        assert_int_equal(pthread_create(&f->thread, NULL, run, f), 0);
}

void fake_stop(struct fake *f)
{
        eventfd_t n;

        if (f->listener < 0)
                return;
        eventfd_write(f->wake_fd, 1);
        pthread_join(f->thread, NULL);
        eventfd_read(f->wake_fd, &n);
        for (size_t i = 0; i < FAKE_CONNS; i++)
                wire_conn_free(take_ptr(f->conns[i]));
        f->finishing = NULL;
        close(take_fd(&f->listener));
        unlink(f->path);
}

void fake_forget(struct fake *f)
{
        drop_slots(f);
        if (f->page) {
                munmap(take_ptr(f->page), PAGE_BYTES);
                close(take_fd(&f->page_fd));
        }
}

void fake_done(struct fake *f)
{
        fake_stop(f);
        fake_forget(f);
        free(f->offsets);
        free(f->manifest);
        free(f->file);
        json_decref(f->attach);
        close(f->wake_fd);
        rmdir(f->dir);
        pthread_cond_destroy(&f->logged);
        pthread_mutex_destroy(&f->lock);
}

void fake_announce(struct fake *f, int64_t save_at)
{
        atomic_store_explicit(&f->page->daemon.save_at, save_at, memory_order_release);
}

void fake_vacate(struct fake *f)
{
        fake_announce(f, PAGE_NEVER);
        for (size_t i = 0; i < PAGE_SLOTS; i++)
                if (atomic_load(&f->page->slot[i].owner) == PAGE_HELD)
                        atomic_store(&f->page->slot[i].owner, PAGE_VACANT);
}
