/* doctor_settings: would the programs start with these settings, and are the secrets any good? See
 * doctor.h. A secret is never shown, nor anything about it that helps guessing it. */
#include "worker/ctl/doctor.h"

#include "base/mem.h"
#include "base/url.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { STRONG_BITS = 100, ALPHABETS = 4 };

/* --- settings ---------------------------------------------------------------------------- */

static void say_faults(struct doctor *d, const char *program, const struct buf *faults)
{
    for (const char *p = buf_str(faults); *p;) {
        int len = (int)strcspn(p, "\n");
        doctor_say(d, DOCTOR_ERROR,
            "Correct it where it was given; 'hooklinectl config --check' looks again.",
            "the %s would not start: %.*s", program, len, p);
        p += len + (p[len] == '\n');
    }
}

/* A host without a producer has no use for the producer's secret. */
static bool only_secret_missing(const struct buf *faults)
{
    const char *end = strchr(buf_str(faults), '\n');
    return end && !end[1] && strncmp(faults->data, "WEBHOOK_SECRET: is needed", 25) == 0;
}

static bool look_at(struct doctor *d, const char *program, int bit)
{
    struct config cfg;
    struct buf faults = {0};
    bool fine = config_load(&cfg, bit, d->config_file, environ, &faults) == HL_OK;
    if (fine)
        config_release(&cfg);
    else if (only_secret_missing(&faults))
        doctor_say(d, DOCTOR_WARNING,
            "Run doctor with the settings of the producer (--config FILE), or ignore this where "
            "none runs.",
            "WEBHOOK_SECRET is not given here: a producer would not start");
    else
        say_faults(d, program, &faults);
    buf_release(&faults);
    return fine;
}

void doctor_settings(struct doctor *d)
{
    bool fine = look_at(d, "producer", CFG_PRODUCER);
    fine &= look_at(d, "worker", CFG_WORKER);
    fine &= look_at(d, "tool", CFG_CTL);
    if (fine)
        doctor_say(d, DOCTOR_OK, NULL, "producer, worker and hooklinectl would start with them");
}

/* --- secrets ----------------------------------------------------------------------------- */

static const struct alphabet {
    const char *first_last;
    int size;
} alphabets[ALPHABETS] = {
    {"09", 10},
    {"af", 6 },
    {"gz", 20},
    {"AZ", 26},
};

/* Letters that could stand at a place, by those that do. */
static int letters_used(const char *s)
{
    bool used[ALPHABETS] = {false}, other = false;
    int sum = 0;
    for (; *s; s++) {
        bool known = false;
        for (int i = 0; i < ALPHABETS; i++) {
            bool in = *s >= alphabets[i].first_last[0] && *s <= alphabets[i].first_last[1];
            used[i] |= in;
            known |= in;
        }
        other |= !known;
    }
    for (int i = 0; i < ALPHABETS; i++)
        sum += used[i] ? alphabets[i].size : 0;
    return sum + (other ? 30 : 0);
}

static int distinct(const char *s)
{
    bool seen[256] = {false};
    int n = 0;
    for (; *s; s++) {
        n += !seen[(unsigned char)*s];
        seen[(unsigned char)*s] = true;
    }
    return n;
}

static int bits_of(unsigned n)
{
    int bits = 0;
    for (; n > 1; n >>= 1)
        bits++;
    return bits;
}

/* After so many characters it begins again; its length when it does not. */
static size_t period(const char *s)
{
    size_t len = strlen(s), n = 1;
    while (n < len && memcmp(s, s + n, len - n) != 0)
        n++;
    return n;
}

/* Characters that do not follow from those before: "abcd" and "7777" have two. */
static int surprises(const char *s, size_t len)
{
    int n = 0, step = INT_MAX;
    for (size_t i = 0; i < len; i++) {
        int next = i ? s[i] - s[i - 1] : INT_MAX;
        n += next != step || next < -1 || next > 1;
        step = next;
    }
    return n;
}

/* Quarters of a bit: 32 hexadecimal digits rarely have all 16 among them, and are worth 128 still. */
static int quarters_of(unsigned n)
{
    return bits_of(n * n * n * n);
}

/* As much as somebody who knows nothing but the alphabet must guess: at most. */
static int most_bits(const char *s)
{
    int letters = letters_used(s), kinds = distinct(s);
    return surprises(s, period(s)) * quarters_of((unsigned)(kinds < letters ? kinds : letters)) / 4;
}

static const char *weakness(const char *s)
{
    static const char *const words[] = {"changeme", "change-me", "password", "secret", "example",
        "hookline", "12345", "qwerty", "replace", "your-", "your_", "insert", "openssl"};
    if (distinct(s) < 10)
        return "is made of very few different characters";
    if (most_bits(s) < STRONG_BITS)
        return "is too short, or too regular";
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        if (strcasestr(s, words[i]))
            return "has a word in it that guessers try first";
    return NULL;
}

#define MAKE_ONE "Make one with: openssl rand -hex 32"

/* Whether nothing was to be said. */
static bool look_at_secret(struct doctor *d, const char *name, const char *secret)
{
    const char *weak = secret && *secret ? weakness(secret) : NULL;
    if (weak)
        doctor_say(d, DOCTOR_WARNING, MAKE_ONE, "%s %s", name, weak);
    return !weak;
}

static bool look_at_password(struct doctor *d, const char *name, const char *url)
{
    struct url_parts u;
    bool fine = true;
    if (!url_parse(url, &u))
        return true; /* said among the settings */
    if (u.password &&
        (strcasecmp(u.password, "changeme") == 0 || strcasecmp(u.password, "password") == 0 ||
            (u.user && strcmp(u.password, u.user) == 0))) {
        doctor_say(d, DOCTOR_WARNING, "Give that role a password of its own.",
            "the password in %s is one that everybody tries first", name);
        fine = false;
    }
    url_parts_release(&u);
    return fine;
}

static bool look_for_twins(struct doctor *d, const char *names[], const char *values[], int n)
{
    bool fine = true;
    for (int i = 0; i < n; i++)
        for (int k = i + 1; k < n; k++) {
            if (!values[i] || !values[k] || strcmp(values[i], values[k]) != 0)
                continue;
            doctor_say(d, DOCTOR_WARNING, "Give each purpose a secret of its own.",
                "%s and %s are the same", names[i], names[k]);
            fine = false;
        }
    return fine;
}

void doctor_secrets(struct doctor *d)
{
    const struct config *c = &d->cfg;
    const char *names[] = {"WEBHOOK_SECRET", "WEBHOOK_SECRET_PREVIOUS", "WEBHOOK_INTAKE_TOKEN",
        "WEBHOOK_API_SECRET", "WEBHOOK_API_SECRET_READONLY"};
    const char *values[] = {c->webhook_secret, c->webhook_secret_previous, c->intake_token,
        c->api_secret, c->api_secret_readonly};
    enum { N = sizeof(values) / sizeof(*values) };
    bool fine = true;

    for (int i = 0; i < N; i++)
        fine &= look_at_secret(d, names[i], values[i]);
    fine &= look_for_twins(d, names, values, N);
    fine &= look_at_password(d, "WEBHOOK_DATABASE_URL", c->database_url);
    fine &= look_at_password(d, "WEBHOOK_REDIS_URL", c->redis_url);
    if (c->test_mode) {
        doctor_say(d, DOCTOR_WARNING, "Unset WEBHOOK_TEST_MODE outside of tests.",
            "WEBHOOK_TEST_MODE is on: secrets of any length are accepted");
        fine = false;
    }
    if (fine)
        doctor_say(d, DOCTOR_OK, NULL, "those that are usable are strong enough");
}
