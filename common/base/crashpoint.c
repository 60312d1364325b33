/* crashpoint: see crashpoint.h. Empty but in test builds. */
#include "base/crashpoint.h"

#ifdef HOOKLINE_CHAOS
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define ONE(name) {.id = (name)},
static struct point {
    const char *id;
    double probability;
    long at, passed; /* dies at that passage; 0 = never */
} points[] = {CRASH_POINTS(ONE)};
enum { NPOINTS = sizeof(points) / sizeof(points[0]) };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the spool's writer is a thread */
static uint64_t state;
static pid_t thrower; /* whose dice these are: a child throws its own */
static bool read_once;

static struct point *find(const char *name, size_t len)
{
    for (size_t i = 0; i < NPOINTS; i++)
        if (strlen(points[i].id) == len && memcmp(points[i].id, name, len) == 0)
            return &points[i];
    return NULL;
}

/* name=probability or name@passage */
static bool arm(const char *word)
{
    size_t len = strcspn(word, "=@");
    struct point *p = find(word, len);
    char *end = NULL;
    if (!p || !word[len])
        return false;
    if (word[len] == '@')
        p->at = strtol(word + len + 1, &end, 10);
    else
        p->probability = strtod(word + len + 1, &end);
    return end != word + len + 1 && *end == '\0';
}

static void read_environment(void)
{
    const char *setting = getenv("HOOKLINE_CRASH");
    char words[512], *rest;
    read_once = true;
    if (!setting)
        return;
    snprintf(words, sizeof(words), "%s", setting);
    for (char *w = strtok_r(words, ",", &rest); w; w = strtok_r(NULL, ",", &rest)) {
        if (arm(w))
            continue;
        fprintf(stderr, "HOOKLINE_CRASH: \"%s\" is not name=probability or name@passage\n", w);
        _exit(EX_CONFIG);
    }
}

/* xorshift64*: 0 <= result < 1 */
static double throw_dice(void)
{
    if (thrower != getpid()) {
        const char *seed = getenv("HOOKLINE_CRASH_SEED");
        thrower = getpid();
        state = (seed ? strtoull(seed, NULL, 10) : 1) * 0x9e3779b97f4a7c15u + (uint64_t)thrower;
        state |= 1;
    }
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (double)(state * 0x2545f4914f6cdd1du >> 11) / (double)(UINT64_C(1) << 53);
}

_Noreturn static void die(const char *name)
{
    const char *path = getenv("HOOKLINE_CRASH_LOG");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
    if (fd >= 0)
        dprintf(fd, "%s %d\n", name, (int)getpid());
    raise(SIGKILL);
    abort(); /* not reached */
}

void crashpoint_pass(const char *name)
{
    pthread_mutex_lock(&lock);
    if (!read_once)
        read_environment();
    struct point *p = find(name, strlen(name));
    bool now = p && (++p->passed == p->at || (p->probability > 0 && throw_dice() < p->probability));
    if (now)
        die(name);
    pthread_mutex_unlock(&lock);
}
#endif
