/* db_settings: the database URL taken apart, once per pool: what libpq is given with every
 * connection attempt, and the list of hosts, which we walk ourselves so that each look-up and each
 * attempt has a deadline of its own and none blocks the loop. */
#include "io/db_conn.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

static void set(struct db_settings *s, const char *keyword, const char *value)
{
    s->keywords[s->count] = mem_strdup(keyword);
    s->values[s->count] = mem_strdup(value);
    s->count++;
}

static void set_default(struct db_settings *s, const char *keyword, const char *value)
{
    for (int i = 0; i < s->count; i++)
        if (same(s->keywords[i], keyword))
            return;
    set(s, keyword, value);
}

static bool is_place(const char *keyword)
{
    return same(keyword, "host") || same(keyword, "hostaddr") || same(keyword, "port");
}

static const char *option(const PQconninfoOption *options, const char *keyword)
{
    for (const PQconninfoOption *o = options; o->keyword; o++)
        if (same(o->keyword, keyword) && o->val && *o->val)
            return o->val;
    return NULL;
}

/* No SET and no `options`: behind PgBouncer the session is not ours. */
static void take_options(
    struct db_settings *s, const PQconninfoOption *options, const struct db_conf *conf)
{
    enum { DEFAULTS = 8 };
    char ms[24];
    size_t n = DEFAULTS + DB_SPARE;

    for (const PQconninfoOption *o = options; o->keyword; o++)
        n++;
    s->keywords = mem_array(n, sizeof(*s->keywords));
    s->values = mem_array(n, sizeof(*s->values));
    for (const PQconninfoOption *o = options; o->keyword; o++)
        if (o->val && !is_place(o->keyword))
            set(s, o->keyword, o->val);

    snprintf(ms, sizeof(ms), "%lld", (long long)conf->statement_timeout_ms);
    set_default(s, "application_name", conf->application_name);
    set_default(s, "client_encoding", "UTF8");
    set_default(s, "target_session_attrs", "read-write");
    set_default(s, "keepalives_idle", "10");
    set_default(s, "keepalives_interval", "5");
    set_default(s, "keepalives_count", "3");
    set_default(s, "tcp_user_timeout", ms);
    set_default(s, "gssencmode", "disable"); /* looking for Kerberos tickets may block */
    const char *timeout = option(options, "connect_timeout");
    int64_t url_ms = timeout ? strtoll(timeout, NULL, 10) * 1000 : 0;
    s->connect_timeout_ms = url_ms > 0 ? url_ms : conf->connect_timeout_ms;
}

/* Parts of a comma-separated list; "" and NULL have one empty part. */
static int list_count(const char *list)
{
    int n = 1;
    for (const char *p = list; p && *p; p++)
        n += *p == ',';
    return n;
}

/* Part i, allocated; NULL when it is empty. A list of one part counts for all. */
static char *list_part(const char *list, int i)
{
    if (!list)
        return NULL;
    for (int skip = list_count(list) == 1 ? 0 : i; skip > 0; skip--)
        list = strchr(list, ',') + 1;
    size_t len = strcspn(list, ",");
    return len ? mem_strndup(list, len) : NULL;
}

static bool is_numeric(const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

static bool is_port(const char *text)
{
    char *end;
    long port = text ? strtol(text, &end, 10) : 1;
    return !text || (*end == '\0' && port > 0 && port < 65536);
}

static enum hl_rc take_host(
    struct db_host *h, char *name, char *address, char *port, struct hl_err *err)
{
    *h = (struct db_host){.name = name, .address = address, .port = port};
    if (!is_port(port)) /* not quoted: it may be a piece of a password */
        return hl_fail(err, HL_FATAL,
            "the database URL has a port that is not a number from 1 to 65535; a / or @ in the "
            "password is written %%2F, %%40");
    if (address || !name || strchr("/@", name[0]))
        return HL_OK;
    if (is_numeric(name))
        h->address = mem_strdup(name);
    else
        h->look_up = true;
    return HL_OK;
}

static enum hl_rc take_hosts(
    struct db_settings *s, const PQconninfoOption *options, struct hl_err *err)
{
    const char *names = option(options, "host");
    const char *addresses = option(options, "hostaddr");
    const char *ports = option(options, "port");

    if (!names && !addresses)
        names = getenv("PGHOST"); /* libpq would, and look it up without us */
    int n = list_count(names ? names : addresses);
    if (addresses && list_count(addresses) != n)
        return hl_fail(err, HL_FATAL, "the database URL has %d host but %d hostaddr", n,
            list_count(addresses));
    if (list_count(ports) != 1 && list_count(ports) != n)
        return hl_fail(
            err, HL_FATAL, "the database URL has %d hosts but %d ports", n, list_count(ports));
    s->hosts = mem_array((size_t)n, sizeof(*s->hosts));
    for (; s->nhosts < n; s->nhosts++) {
        int i = s->nhosts;
        char *name = list_count(names) == n ? list_part(names, i) : NULL;
        char *address = addresses ? list_part(addresses, i) : NULL;
        if (take_host(&s->hosts[i], name, address, list_part(ports, i), err) != HL_OK) {
            s->nhosts++;
            return HL_FATAL;
        }
    }
    return HL_OK;
}

/* libpq quotes what it does not understand, which may be the password or the whole URL. Its words
 * are kept, and the quotation where it is the name of a parameter for certain. */
static enum hl_rc fail_parse(const char *url, const char *text, struct hl_err *err)
{
    const char *query = strchr(url, '?');
    const char *quote = strchr(text, '"');
    bool name = strstr(text, "query parameter: \"") && query && !strchr(query, '@');
    int len = (int)(quote && !name ? (size_t)(quote - text) : strcspn(text, "\n"));

    while (len > 0 && strchr(": (", text[len - 1]))
        len--;
    return hl_fail(err, HL_FATAL,
        "the database URL cannot be read: %.*s; expected "
        "postgresql://user:password@host:port/database with special characters as %%XX",
        len, text);
}

struct db_settings *db_settings_new(const struct db_conf *conf, struct hl_err *err)
{
    char *text = NULL;
    PQconninfoOption *options = PQconninfoParse(conf->url, &text);
    struct db_settings *s = NULL;

    if (!options) {
        fail_parse(conf->url, text ? text : "out of memory", err);
    } else {
        s = mem_new(struct db_settings);
        s->prepared = conf->prepared;
        take_options(s, options, conf);
        if (take_hosts(s, options, err) != HL_OK) {
            db_settings_free(s);
            s = NULL;
        }
    }
    PQfreemem(text);
    PQconninfoFree(options);
    return s;
}

static void free_strings(const char **strings, int n)
{
    for (int i = 0; i < n; i++)
        free((char *)(uintptr_t)strings[i]);
    free(strings);
}

void db_settings_free(struct db_settings *s)
{
    if (!s)
        return;
    free_strings(s->keywords, s->count);
    free_strings(s->values, s->count);
    for (int i = 0; i < s->nhosts; i++) {
        free(s->hosts[i].name);
        free(s->hosts[i].address);
        free(s->hosts[i].port);
    }
    free(s->hosts);
    free(s);
}
