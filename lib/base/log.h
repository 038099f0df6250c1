/* The log: one line a message to standard error, "<N>" priorities when that is the journal.
 * Level and target are the only two mutable globals of the project.  lib (but this file), model,
 * conf and catalog never log: they return a diag. */
#pragma once

#include "cleanup.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

extern const char *const log_level_names[]; /* "error" … "debug", NULL */

void log_set_level(enum log_level level);
/* Looks at JOURNAL_STREAM and standard error once. */
void log_open(void);
void log_at(enum log_level level, const char *format, ...) _printf_(2, 3);

#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_at(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)
