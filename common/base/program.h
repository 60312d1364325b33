/* program: the command line that Hookline's programs share: settings, --help, --version,
 * --print-config. */
#ifndef HL_BASE_PROGRAM_H
#define HL_BASE_PROGRAM_H

#include "base/config.h"

struct program {
    const char *name;  /* "hookline-producer" */
    int settings;      /* its CFG_ bit */
    const char *about; /* what --help says before the settings; several lines, newline at the end */
};

/* Where a standard file is closed (<&-, 2>&-), no connection may get its number, and with it what is printed
 * or logged. Writing to these fails, as it would have. */
void program_hold_standard_files(void);

/* Holds the standard files. Loads *cfg. Returns -1 to go on, otherwise the exit status with which to leave: 0 after --help
 * and the like, EX_USAGE or EX_CONFIG after having said on standard error what is wrong. */
int program_settings(const struct program *p, int argc, char **argv, struct config *cfg);

/* The same sources again, for SIGHUP. Usable settings replace *cfg. Otherwise false: *cfg stays as
 * it is, and what is wrong is logged, a line for each fault. */
bool program_settings_again(const struct program *p, int argc, char **argv, struct config *cfg);

#endif
