#include "log.h"

#include "buffer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static _Atomic enum log_level log_level = LOG_LEVEL_INFO;
static atomic_bool log_to_journal;

const char *const log_level_names[] = {"error", "warning", "info", "debug", NULL};

/* The journal reads syslog's priorities; a person reads the words. */
static const char *const journal_prefix[] = {"<3>", "<4>", "<6>", "<7>"};
static const char *const plain_prefix[] = {"error: ", "warning: ", "", "debug: "};

void log_set_level(enum log_level level)
{
        log_level = level;
}

/* JOURNAL_STREAM is "DEVICE:INODE" of the stream that the service manager opened; standard error
 * may have been redirected since. */
void log_open(void)
{
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;

        log_to_journal = stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
                         fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device &&
                         st.st_ino == inode;
}

/* Texts hold names from outside: a control character becomes '?', and a line after the first is
 * indented, so that none passes for a message of its own. */
static int append_lines(struct buffer *out, const char *prefix, char *text)
{
        char *line = text, *end;
        int r;

        do {
                end = strchrnul(line, '\n');
                for (char *c = line; c < end; c++)
                        if ((unsigned char)*c < ' ' || *c == 0x7f)
                                *c = '?';
                r = buffer_printf(out, "%s%s%.*s\n", prefix, line == text ? "" : "    ",
                                  (int)(end - line), line);
                if (r < 0)
                        return r;
                line = end + 1;
        } while (*end);
        return 0;
}

static void write_out(const struct buffer *out)
{
        size_t at = 0;

        while (at < out->len) {
                ssize_t n = write(STDERR_FILENO, out->data + at, out->len - at);

                if (n <= 0 && errno != EINTR)
                        return;
                at += n > 0 ? (size_t)n : 0;
        }
}

void log_at(enum log_level level, const char *format, ...)
{
        _cleanup_(buffer_done) struct buffer out = {0};
        _cleanup_(freep) char *text = NULL;
        va_list args;
        int r;

        if (level > log_level)
                return;
        va_start(args, format);
        r = vasprintf(&text, format, args);
        va_end(args);
        if (r < 0) {
                text = NULL;
                return;
        }
        r = append_lines(&out, (log_to_journal ? journal_prefix : plain_prefix)[level], text);
        if (r == 0)
                write_out(&out);
}
