/* hooklinectl health: asks the programs of this host how they are, at the ports that the settings name: the
 * health check of a container in which there is neither curl nor a shell. */
#include "worker/ctl/commands.h"

#include "base/mem.h"
#include "base/text.h"
#include "io/admin.h"
#include "io/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_READY = 1, OPT_TIMEOUT, DEFAULT_TIMEOUT_MS = 3000, MIN_TIMEOUT_MS = 100 };
enum { MAX_ANSWER = 4096, MAX_SAID = 300 };

/* clang-format off */
static const struct ctl_option options[] = {
    {OPT_READY, "ready", NULL, "whether it does its work (/readyz), not only whether it lives (/livez)"},
    {OPT_TIMEOUT, "timeout", "DURATION", "time for the answer (default 3s)"},
    {0},
};
/* clang-format on */

static ctl_run_fn run;

const struct ctl_command cmd_health = {
    .name = "health",
    .summary = "ask the producer or worker on this host whether it is well",
    .words = "[producer|worker]",
    .about =
        "Asks the program on this host at the port that its settings here name: "
        "WEBHOOK_ADMIN_PORT\n"
        "of a worker, WEBHOOK_PRODUCER_ADMIN_PORT of a producer, or else WEBHOOK_PORT. Without a\n"
        "name it asks both, and whichever answers counts. For the health check of a container.\n"
        "Exits with 1 when one is not well, and says why; with 69 when nobody is there, and with\n"
        "124 when who is there does not answer.\n",
    .examples = "hooklinectl health worker\n"
                "hooklinectl health producer --ready --timeout 1s\n",
    .options = options,
    .run = run,
};

struct health {
    struct loop *loop;
    struct http *http;
    int64_t timeout_ms;
    const char *path;
    int open; /* questions not answered yet */
};

struct probe {
    const char *program;
    const char *address;
    int64_t port;        /* 0 = none that is known */
    const char *setting; /* that names it */
    struct health *health;
    int code; /* CTL_UNREACHABLE until somebody answers */
    char *said;
};

/* --- asking ------------------------------------------------------------------------------ */

/* Who listens everywhere is asked over loopback. */
static char *url_of(const struct probe *p)
{
    const char *host = p->address;
    if (strcmp(host, "0.0.0.0") == 0)
        host = "127.0.0.1";
    else if (strcmp(host, "::") == 0)
        host = "::1";
    bool v6 = strchr(host, ':') != NULL;
    return mem_printf("http://%s%s%s:%lld%s", v6 ? "[" : "", host, v6 ? "]" : "",
        (long long)p->port, p->health->path);
}

static char *one_line(const char *text)
{
    struct buf line = {0};
    text_one_line(text, MAX_SAID, &line);
    return buf_detach(&line);
}

static void on_answer(const struct http_response *res, void *ctx)
{
    struct probe *p = ctx;
    if (res->rc == HL_OK) {
        p->code = res->status == 200 ? CTL_OK : CTL_ERROR;
        char *body = one_line(res->body);
        p->said = res->status == 200 || res->status == 503
                      ? mem_strdup(body)
                      : mem_printf("answers %s with HTTP %ld: %s", p->health->path, res->status,
                            "something else than Hookline listens there, or an older release");
        free(body);
    } else {
        p->code = !res->sent                        ? CTL_UNREACHABLE
                  : res->err->why == HL_WHY_TIMEOUT ? CTL_TIMEOUT
                                                    : CTL_ERROR;
        p->said = one_line(res->err->msg);
    }
    if (--p->health->open == 0)
        loop_stop(p->health->loop);
}

static void ask(struct probe *p)
{
    if (!p->port) {
        p->said = mem_printf("%s is 0: no port is known", p->setting);
        return;
    }
    char *url = url_of(p);
    p->health->open++;
    http_start(p->health->http,
        &(struct http_request){.method = "GET",
            .url = url,
            .connect_timeout_ms = p->health->timeout_ms,
            .timeout_ms = p->health->timeout_ms,
            .max_body = MAX_ANSWER},
        on_answer, p);
    free(url);
}

/* --- what came of it --------------------------------------------------------------------- */

static void tell(const struct probe *p)
{
    if (p->code == CTL_OK)
        printf("%s: %s\n", p->program, p->said);
    else if (p->port)
        ctl_fail(p->code, "%s (port %lld): %s", p->program, (long long)p->port, p->said);
    else
        ctl_fail(p->code, "%s: %s", p->program, p->said);
}

/* Of those that are there, the one that is worst off; when nobody is, everybody. */
static int judge(const struct probe *probes, int n)
{
    int code = CTL_UNREACHABLE;
    bool any = false;
    for (int i = 0; i < n; i++)
        any |= probes[i].code != CTL_UNREACHABLE;
    for (int i = 0; i < n; i++) {
        const struct probe *p = &probes[i];
        if (any && p->code == CTL_UNREACHABLE)
            continue;
        tell(p);
        if (code == CTL_UNREACHABLE || p->code > code)
            code = p->code;
    }
    if (!any)
        fputs("Does it run on this host, and with these settings?\n", stderr);
    return code;
}

static int look(struct health *h, struct probe *probes, int n)
{
    struct hl_err err;
    h->loop = loop_new(&err);
    h->http = h->loop ? http_new(h->loop, "hooklinectl/" HOOKLINE_VERSION, &err) : NULL;
    if (!h->http)
        return ctl_fail(CTL_ERROR, "%s", err.msg);
    for (int i = 0; i < n; i++)
        ask(&probes[i]);
    if (h->open)
        loop_run(h->loop);
    return judge(probes, n);
}

static int examine(struct health *h, const struct config *cfg, const char *name)
{
    bool own_port = cfg->producer_admin_port != 0;
    struct probe probes[] = {
        {.program = "producer",
         .address = own_port ? cfg->admin_host : cfg->host,
         .port = own_port ? cfg->producer_admin_port : cfg->port,
         .setting = "WEBHOOK_PORT"      },
        {.program = "worker",
         .address = cfg->admin_host,
         .port = cfg->admin_port,
         .setting = "WEBHOOK_ADMIN_PORT"},
    };
    enum { N = sizeof(probes) / sizeof(*probes) };
    for (int i = 0; i < N; i++) {
        probes[i].health = h;
        probes[i].code = CTL_UNREACHABLE;
    }
    int first = name && strcmp(name, "worker") == 0;
    int code = look(h, probes + first, name ? 1 : N);
    http_free(h->http);
    loop_free(h->loop);
    for (int i = 0; i < N; i++)
        free(probes[i].said);
    return code;
}

/* --- the command line -------------------------------------------------------------------- */

/* -1: go on; else the exit code. */
static int parse(struct ctl_args *args, struct health *h, const char **name)
{
    for (int key; (key = ctl_next(args)) != 0;) {
        if (key == OPT_READY)
            h->path = ADMIN_READY;
        else if (!ctl_duration(args, "timeout", &h->timeout_ms))
            break;
    }
    if (args->done >= 0)
        return args->done;
    if (h->timeout_ms < MIN_TIMEOUT_MS)
        return ctl_usage_error(args->command, "--timeout takes 100ms at least");
    if (args->argc - args->rest > 1)
        return ctl_usage_error(args->command, "takes one word: producer or worker");
    *name = args->rest < args->argc ? args->argv[args->rest] : NULL;
    if (*name && strcmp(*name, "producer") != 0 && strcmp(*name, "worker") != 0)
        return ctl_usage_error(
            args->command, "there is no program '%s': expected producer or worker", *name);
    return -1;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&cmd_health, ctl, argc, argv);
    struct health h = {.timeout_ms = DEFAULT_TIMEOUT_MS, .path = ADMIN_LIVE};
    struct config cfg;
    const char *name = NULL;
    int code = parse(&args, &h, &name);
    if (code >= 0)
        return code;
    if (!ctl_config(ctl, &cfg))
        return CTL_ERROR;
    code = examine(&h, &cfg, name);
    config_release(&cfg);
    return code;
}
