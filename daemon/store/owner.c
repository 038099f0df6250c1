#include "owner.h"

#include "directory.h"
#include "fds.h"
#include "field.h"
#include "small-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define OWNER_FILE "owner"
#define OWNER_MAX_BYTES ((size_t)16 * 1024)
#define ID_MAX 64 /* bytes of a machine's or boot's id, NUL included */
#define HOST_MAX 256
#define MARK_BYTES ((size_t)1024) /* at least, padded: then it can be written anew on a full disk */

struct mark { /* strings borrowed from the JSON value, or static */
        const char *host, *machine_id, *boot_id, *socket, *renewed;
        int64_t uid, pid;
};

static const struct field mark_fields[] = {
        FIELD(FIELD_STRING, struct mark, host, FIELD_REQUIRED),
        FIELD(FIELD_STRING, struct mark, machine_id, FIELD_REQUIRED),
        FIELD(FIELD_STRING, struct mark, boot_id, FIELD_REQUIRED),
        FIELD(FIELD_INT, struct mark, uid, FIELD_REQUIRED | FIELD_NOT_NEGATIVE),
        FIELD(FIELD_INT, struct mark, pid, FIELD_REQUIRED | FIELD_NOT_NEGATIVE),
        FIELD(FIELD_STRING, struct mark, socket, FIELD_REQUIRED),
        FIELD(FIELD_STRING, struct mark, renewed, FIELD_REQUIRED),
        FIELD_END,
};

struct self { /* this daemon's mark and the memory behind it */
        struct mark mark;
        char host[HOST_MAX], machine_id[ID_MAX], boot_id[ID_MAX], renewed[32];
};

bool owner_may_take(const struct owner_facts *f)
{
        bool trusts_lock = !f->is_network && f->lock != OWNER_LOCK_MISSING;

        if (trusts_lock)
                return f->lock == OWNER_LOCK_FREE;
        if (!f->has_mark)
                return f->lock != OWNER_LOCK_HELD || f->take_over;
        if (f->same_machine && !f->same_boot)
                return true;
        /* The own kernel knows whether its processes live. */
        if (f->same_machine && f->lock == OWNER_LOCK_HELD)
                return false;
        if (f->same_machine && (f->lock == OWNER_LOCK_FREE || f->same_instance))
                return true;
        return f->take_over || f->age_ms >= OWNER_STALE_MS;
}

/* ---- the mark ---- */

static void read_id(const char *path, char out[static ID_MAX])
{
        _cleanup_(buffer_done) struct buffer text = {0};
        int length;

        out[0] = '\0';
        if (fds_read_file(path, ID_MAX - 1, &text) < 0 || !text.data)
                return;
        length = (int)strcspn((const char *)text.data, "\n");
        snprintf(out, ID_MAX, "%.*s", length, (const char *)text.data);
}

static void know_self(const struct store_dir *d, struct self *self)
{
        time_t now = time(NULL);
        struct tm utc;

        if (gethostname(self->host, sizeof(self->host)) < 0)
                snprintf(self->host, sizeof(self->host), "localhost");
        self->host[sizeof(self->host) - 1] = '\0';
        read_id("/etc/machine-id", self->machine_id);
        read_id("/proc/sys/kernel/random/boot_id", self->boot_id);
        gmtime_r(&now, &utc);
        strftime(self->renewed, sizeof(self->renewed), "%FT%TZ", &utc);
        self->mark = (struct mark){
                .host = self->host,
                .machine_id = self->machine_id,
                .boot_id = self->boot_id,
                .socket = d->socket ? d->socket : "",
                .renewed = self->renewed,
                .uid = geteuid(),
                .pid = getpid(),
        };
}

/* 1: there is none, or none that can be read.  *ret_json keeps the strings alive. */
static int read_mark(const struct store_dir *d, struct mark *ret, json_t **ret_json)
{
        _cleanup_(buffer_done) struct buffer text = {0};
        const char *bad;
        json_t *json;
        int r = small_file_read(d->io, (struct place){d->ckptd, OWNER_FILE}, OWNER_MAX_BYTES,
                                &text);

        if (r < 0)
                return r == -ENOENT || r == -EFBIG ? 1 : r;
        json = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
        if (!json)
                return 1;
        if (!json_is_object(json) || field_decode(mark_fields, json, ret, &bad) < 0) {
                json_decref(json);
                return 1;
        }
        *ret_json = json;
        return 0;
}

static int write_mark(struct store_dir *d)
{
        _cleanup_(buffer_done) struct buffer text = {0};
        struct self self;
        json_t *json;
        char *dump;
        int r;

        know_self(d, &self);
        json = field_encode(mark_fields, &self.mark);
        dump = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
        json_decref(json);
        if (!dump)
                return -ENOMEM;
        r = buffer_printf(&text, "%-*s\n", (int)MARK_BYTES - 1, dump);
        free(dump);
        if (r == 0)
                r = io_write_all(d->io, d->owner, text.data, text.len, 0);
        if (r == 0)
                r = call_truncate(d->io, d->owner, text.len);
        if (r == 0 && d->is_network)
                r = call_fsync(d->io, d->owner);
        return r;
}

static bool is_same(const struct mark *a, const struct mark *b)
{
        return a->pid == b->pid && a->uid == b->uid && strcmp(a->host, b->host) == 0 &&
               strcmp(a->boot_id, b->boot_id) == 0 && strcmp(a->socket, b->socket) == 0;
}

/* ---- taking ---- */

static enum owner_lock lock_owner(int fd)
{
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

        if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
                return OWNER_LOCK_FREE;
        return errno == EAGAIN || errno == EACCES ? OWNER_LOCK_HELD : OWNER_LOCK_MISSING;
}

/* The file server's clock is seen in the time of a file that is written now. */
static int read_age(const struct store_dir *d, int64_t *ret_ms)
{
        struct place probe = {d->ckptd, TEMPORARY_PREFIX "clock"};
        struct buffer text = {.data = (uint8_t[]){"now\n"}, .len = 4};
        struct file_facts mark, now;
        int fd, r;

        call_unlink(d->io, probe);
        r = small_file_create(d->io, probe, &text, &fd);
        if (r < 0)
                return r;
        r = call_fsync(d->io, fd);
        if (r == 0)
                r = call_facts_of(d->io, fd, &now);
        if (r == 0)
                r = call_facts_of(d->io, d->owner, &mark);
        call_close(d->io, fd);
        call_unlink(d->io, probe);
        if (r == 0)
                *ret_ms = now.modified_ms - mark.modified_ms;
        return r;
}

static int refuse(const struct store_dir *d, const struct mark *mark, struct diag *diag)
{
        if (!mark)
                return diag_set(diag, -EBUSY,
                                "%s belongs to another ckptd, which has left no mark yet", d->path);
        return diag_set(diag, -EBUSY, "%s belongs to the ckptd with pid %lld on %s (uid %lld%s%s)",
                        d->path, (long long)mark->pid, mark->host, (long long)mark->uid,
                        *mark->socket ? ", socket " : "", mark->socket);
}

static int judge(struct store_dir *d, struct owner_facts *f, const struct mark *mark,
                 struct diag *diag)
{
        struct self self;
        int r;

        know_self(d, &self);
        if (mark) {
                f->has_mark = true;
                f->same_machine = strcmp(mark->host, self.host) == 0 &&
                                  strcmp(mark->machine_id, self.machine_id) == 0;
                f->same_boot = strcmp(mark->boot_id, self.boot_id) == 0;
                f->same_instance =
                        mark->uid == self.mark.uid && strcmp(mark->socket, self.mark.socket) == 0;
        }
        if (mark && (f->is_network || f->lock == OWNER_LOCK_MISSING)) {
                r = read_age(d, &f->age_ms);
                if (r < 0)
                        return directory_failed(d, diag, r, "tell how old the owner's mark is");
        }
        return owner_may_take(f) ? 0 : refuse(d, mark, diag);
}

int owner_take(struct store_dir *d, bool take_over, pid_t *ret_pid, struct diag *diag)
{
        struct owner_facts facts = {.is_network = d->is_network, .take_over = take_over};
        struct mark mark = {0};
        json_t *json = NULL;
        int r;

        d->owner = call_open(d->io, (struct place){d->ckptd, OWNER_FILE}, O_RDWR | O_CREAT, 0644);
        if (d->owner < 0)
                return directory_failed(d, diag, d->owner, "open .ckptd/owner");
        facts.lock = lock_owner(d->owner);
        r = read_mark(d, &mark, &json);
        if (r < 0)
                return directory_failed(d, diag, r, "read .ckptd/owner");
        r = judge(d, &facts, json ? &mark : NULL, diag);
        if (r == -EBUSY)
                *ret_pid = (pid_t)mark.pid;
        json_decref(json);
        if (r < 0)
                return r;
        d->is_locked = facts.lock == OWNER_LOCK_FREE;
        d->is_owned = true;
        r = write_mark(d);
        /* Where the lock decides, the mark is only a text for people. */
        if ((r == -ENOSPC || r == -EDQUOT) && d->is_locked && !d->is_network)
                r = 0;
        return r < 0 ? directory_failed(d, diag, r, "write .ckptd/owner") : 0;
}

/* ---- keeping ---- */

int owner_check(struct store_dir *d, struct diag *diag)
{
        struct mark mark = {0};
        struct self self;
        json_t *json = NULL;
        int r;

        if (d->is_locked && !d->is_network)
                return 0;
        r = read_mark(d, &mark, &json);
        if (r < 0)
                return directory_failed(d, diag, r, "read .ckptd/owner");
        know_self(d, &self);
        if (r == 1)
                r = refuse(d, NULL, diag);
        else
                r = is_same(&mark, &self.mark) ? 0 : refuse(d, &mark, diag);
        json_decref(json);
        return r;
}

int owner_renew(struct store_dir *d, struct diag *diag)
{
        int r = owner_check(d, diag);

        if (r < 0 || (d->is_locked && !d->is_network))
                return r;
        r = write_mark(d);
        return r < 0 ? directory_failed(d, diag, r, "renew .ckptd/owner") : 0;
}

/* The blank mark says that nobody owns the directory; the lock goes with the descriptor.  A mark
 * that is not ours stays. */
void owner_release(struct store_dir *d)
{
        char blank[MARK_BYTES];

        memset(blank, ' ', sizeof(blank));
        if (d->is_owned && owner_check(d, NULL) == 0)
                io_write_all(d->io, d->owner, blank, sizeof(blank), 0);
        call_close(d->io, d->owner);
        d->owner = -1;
}
