/* config_value: how text becomes a setting's value and back, and the rows themselves. For config*.c
 * and the manual only. */
#ifndef HL_BASE_CONFIG_VALUE_H
#define HL_BASE_CONFIG_VALUE_H

#include "base/buf.h"
#include "base/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_NAME_MAX 80

struct config_unit {
    const char *suffix;
    int64_t factor;
};

struct config_word {
    const char *word;
    int64_t value; /* the first word of a value is the one we write */
};

struct config_kind {
    const char *noun; /* what is allowed, in words, for numbers and texts */
    enum { CONFIG_SHOWN, CONFIG_SHOWN_AS_URL, CONFIG_HIDDEN } show;
    bool zero_is_off;                /* 0 is allowed below min */
    bool drop_driver;                /* "+driver" after a URL's scheme is not part of the value */
    const struct config_unit *units; /* a number */
    const struct config_word *words; /* one of these */
    /* A text: what is wrong with it, or NULL. Its length was checked before. */
    const char *(*check)(const struct config *cfg, const char *text);
};

struct config_row {
    const char *group; /* a heading: the rest is empty, and no program uses it */
    size_t offset;
    enum { CONFIG_TEXT, CONFIG_NUMBER, CONFIG_BOOL } type;
    const struct config_kind *kind;
    const char *names, *def;
    int64_t min, max;
    int users;
    const char *help;
};

extern const struct config_row config_rows[];
extern const size_t config_nrows;

/* The next of names separated by blanks, into name; false after the last. */
bool config_next_name(const char **names, char name[CONFIG_NAME_MAX]);
/* The name we use, into name, which is returned. */
const char *config_first_name(const struct config_row *r, char name[CONFIG_NAME_MAX]);

char **config_text(const struct config *cfg, const struct config_row *r);    /* of CONFIG_TEXT */
int64_t config_number(const struct config *cfg, const struct config_row *r); /* of the others */

/* Puts the value of text into *cfg. Returns what is wrong with it, or NULL. */
const char *config_read(struct config *cfg, const struct config_row *r, const char *text);

void config_write_number(const struct config_kind *k, int64_t v, struct buf *out);
void config_write_allowed(const struct config_row *r, struct buf *out);

#endif
