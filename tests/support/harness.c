/* harness: waiting, folders, ports and programs (see harness.h). PostgreSQL, Redis and HTTP have
 * files of their own. Owns every process a test starts: each is in a process group of its own,
 * dies with the test (parent-death signal), and is killed at exit. */
#include "tests/support/harness_private.h"

#include "base/buf.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_PIDS = 512, REAP_TIMEOUT_MS = 10000 };

struct test_proc {
    struct test_proc *next;
    pid_t pid;
    char *log_path;
    int status; /* of waitpid */
    bool reaped;
};

void (*harness_on_failure)(const char *text);
static struct test_proc *procs;
static char *own_dir;
static char **kept;
static size_t n_kept;

/* --- waiting ----------------------------------------------------------------------------- */
int64_t harness_now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void harness_pause(int ms)
{
    poll(NULL, 0, ms);
}

void harness_wait_step(int64_t end_ms, const char *what, const char *file, int line)
{
    if (harness_now_ms() > end_ms)
        harness_fail("%s:%d: waited in vain for: %s", file, line, what);
    harness_pause(10);
}

/* --- memory and files -------------------------------------------------------------------- */
/* Some tests post from several threads. */
const char *harness_keep(char *s)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    kept = mem_grow(kept, (n_kept + 1) * sizeof(*kept));
    kept[n_kept++] = s;
    pthread_mutex_unlock(&lock);
    return s;
}

void *harness_hold(void *p)
{
    harness_keep(p);
    return p;
}

char *harness_text(const char *fmt, ...)
{
    struct buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    return harness_hold(buf_detach(&b));
}

char *harness_slurp(const char *path, size_t max)
{
    struct buf b = {0};
    FILE *f = fopen(path, "re");
    while (f && b.len < max) {
        char *to = buf_reserve(&b, 65536);
        size_t n = fread(to, 1, 65536, f);
        if (n == 0)
            break;
        b.len += n;
        to[n] = '\0';
    }
    if (f)
        fclose(f);
    return buf_detach(&b);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    remove(path);
    return 0; /* go on: what is left is no fault of the test */
}

void harness_remove_tree(const char *path)
{
    nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS);
}

_Noreturn void harness_fail(const char *fmt, ...)
{
    struct buf text = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    for (struct test_proc *p = procs; p; p = p->next) {
        char *log = harness_slurp(p->log_path, 16 << 20);
        size_t len = strlen(log), tail = len > 1500 ? len - 1500 : 0;
        buf_printf(&text, "\n--- end of %s (pid %d):\n%s", p->log_path, (int)p->pid, log + tail);
        free(log);
    }
    if (harness_on_failure)
        harness_on_failure(buf_str(&text));
    cr_assert(0, "%s", harness_keep(buf_detach(&text)));
    abort(); /* not reached: a failed assertion leaves the test */
}

/* --- the end ----------------------------------------------------------------------------- */
static void kill_group(struct test_proc *p);

static void clean_up(void)
{
    static pid_t owner;
    if (!owner) {
        owner = getpid();
        return;
    }
    if (owner != getpid())
        return; /* a forked copy of the test: nothing here is its own */
    harness_pg_stop_all();
    for (struct test_proc *p = procs; p; p = p->next)
        kill_group(p);
    if (own_dir && !getenv("HOOKLINE_TEST_KEEP"))
        harness_remove_tree(own_dir);
}

/* Orphans of killed programs become our children, so that they can be reaped here: PID 1 of a
 * container is late or absent. */
static void set_up(void)
{
    static bool done;
    if (done)
        return;
    done = true;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    clean_up(); /* remembers whose it is */
    atexit(clean_up);
}

/* --- folders and ports ------------------------------------------------------------------- */
const char *harness_dir(void)
{
    if (own_dir)
        return own_dir;
    set_up();
    const char *base = getenv("HOOKLINE_TEST_TMP");
    if (!base || !*base)
        base = getenv("TMPDIR");
    if (!base || !*base)
        base = "/tmp";
    own_dir = mem_printf("%s/hookline-test-XXXXXX", base);
    if (!mkdtemp(own_dir))
        harness_fail("mkdtemp %s: %s", own_dir, strerror(errno));
    chmod(own_dir, 0711); /* the servers' account passes through */
    return own_dir;
}

const char *harness_build(void)
{
    const char *build = getenv("HOOKLINE_BUILD");
    return build && *build ? build : "build";
}

static int bound_socket(int port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Below the kernel's ephemeral range: a client that connects again and again to a dead server's
 * port there could be given that very port as its own and would talk to itself. */
static int bind_free(int *port)
{
    static unsigned seed;
    if (!seed)
        seed = (unsigned)getpid() * 2654435761u ^ (unsigned)time(NULL);
    for (int i = 0; i < 1000; i++) {
        *port = 15000 + rand_r(&seed) % 17000;
        int fd = bound_socket(*port);
        if (fd >= 0)
            return fd;
    }
    harness_fail("no free loopback port between 15000 and 32000");
}

int harness_listen(int *port)
{
    int fd = bind_free(port);
    if (listen(fd, 1024) < 0)
        harness_fail("listen: %s", strerror(errno));
    return fd;
}

int harness_free_port(void)
{
    int port, fd = bind_free(&port);
    close(fd);
    return port;
}

/* --- /proc ------------------------------------------------------------------------------- */
struct stat_line {
    pid_t pid, ppid;
    char state;
    char comm[32];
};

static bool read_stat(pid_t pid, struct stat_line *out)
{
    char path[64], line[512];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, line, sizeof(line) - 1);
    close(fd);
    if (n <= 0)
        return false;
    line[n] = '\0';
    char *open_par = strchr(line, '('), *close_par = strrchr(line, ')');
    if (!open_par || !close_par)
        return false;
    *close_par = '\0';
    snprintf(out->comm, sizeof(out->comm), "%s", open_par + 1);
    int ppid = 0;
    if (sscanf(close_par + 1, " %c %d", &out->state, &ppid) != 2)
        return false;
    out->pid = pid;
    out->ppid = ppid;
    return true;
}

static bool matches(const struct stat_line *st, const char *match)
{
    char path[64];
    if (!match || strstr(st->comm, match))
        return true;
    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)st->pid);
    struct buf line = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t n = read(fd, buf_reserve(&line, 4096), 4095);
        line.len = n > 0 ? (size_t)n : 0;
        close(fd);
    }
    bool found = memmem(line.data, line.len, match, strlen(match)) != NULL;
    buf_release(&line);
    return found;
}

int harness_children(pid_t parent, const char *match, pid_t *pids, int max)
{
    int n = 0;
    DIR *d = opendir("/proc");
    struct dirent *e;
    while (d && n < max && (e = readdir(d))) {
        struct stat_line st;
        if (!isdigit((unsigned char)e->d_name[0]) || !read_stat(atoi(e->d_name), &st))
            continue;
        if (st.ppid == parent && st.state != 'Z' && st.state != 'X' && matches(&st, match))
            pids[n++] = st.pid;
    }
    if (d)
        closedir(d);
    return n;
}

int harness_tree(pid_t pid, pid_t *pids, int max)
{
    int n = 1;
    pids[0] = pid;
    for (int i = 0; i < n; i++)
        n += harness_children(pids[i], NULL, pids + n, max - n);
    return n;
}

static struct test_proc *find_proc(pid_t pid)
{
    struct test_proc *p = procs;
    while (p && p->pid != pid)
        p = p->next;
    return p;
}

/* Takes note of the end of one of our programs. */
static bool has_ended(struct test_proc *p)
{
    if (!p->reaped && waitpid(p->pid, &p->status, WNOHANG) == p->pid)
        p->reaped = true;
    return p->reaped;
}

char harness_proc_state(pid_t pid)
{
    struct stat_line st;
    struct test_proc *p = find_proc(pid);
    if ((p && has_ended(p)) || !read_stat(pid, &st))
        return 0;
    if (st.state == 'Z' && st.ppid == getpid() && waitpid(pid, NULL, WNOHANG) == pid)
        return 0; /* an orphan that came to us */
    return st.state;
}

static void wait_gone(const pid_t *pids, int n)
{
    int64_t end = harness_now_ms() + REAP_TIMEOUT_MS;
    for (int i = 0; i < n; i++)
        while (harness_proc_state(pids[i]) != 0 && harness_now_ms() < end)
            harness_pause(2);
}

void harness_halt(pid_t pid)
{
    int64_t end = harness_now_ms() + REAP_TIMEOUT_MS;
    kill(pid, SIGSTOP);
    for (char c; (c = harness_proc_state(pid)) && !strchr("TtZX", c) && harness_now_ms() < end;)
        harness_pause(1);
}

void harness_kill_tree(pid_t pid)
{
    pid_t pids[MAX_PIDS];
    harness_halt(pid); /* it shall not fork between the count and the end */
    int n = harness_tree(pid, pids, MAX_PIDS);
    for (int i = 0; i < n; i++)
        kill(pids[i], SIGKILL);
    wait_gone(pids, n);
}

/* --- programs ---------------------------------------------------------------------------- */
bool harness_unprivileged(unsigned *uid, unsigned *gid)
{
    if (geteuid() != 0)
        return false;
    const struct passwd *pw = getpwnam("postgres");
    if (!pw)
        pw = getpwnam("nobody");
    if (!pw)
        harness_fail("running as root, and there is neither a user postgres nor nobody");
    *uid = pw->pw_uid;
    *gid = pw->pw_gid;
    return true;
}

/* Setting variables of the outside that a child needs: to be found at all, and for the sanitizers
 * and coverage to report where the suite looks. */
static const char *const passed_on[] = {"PATH", "HOME", "TMPDIR", "ASAN_OPTIONS", "LSAN_OPTIONS",
    "UBSAN_OPTIONS", "GCOV_PREFIX", "GCOV_PREFIX_STRIP", NULL};

static char **child_env(const struct spawn *s)
{
    size_t extra = 0, n = 0;
    while (s->env && s->env[extra])
        extra++;
    char **env = mem_array(sizeof(passed_on) / sizeof(passed_on[0]) + extra + 3, sizeof(char *));
    for (size_t i = 0; passed_on[i]; i++)
        if (getenv(passed_on[i]))
            env[n++] = mem_printf("%s=%s", passed_on[i], getenv(passed_on[i]));
    for (size_t i = 0; i < extra; i++)
        env[n++] = mem_strdup(s->env[i]);
    if (s->listen_fd >= 0) {
        env[n++] = mem_strdup("LISTEN_FDS=1");
        env[n++] = mem_strdup("LISTEN_PID=0000000000"); /* the child writes its pid there */
    }
    return env;
}

static void free_env(char **env)
{
    for (char **e = env; *e; e++)
        free(*e);
    free(env);
}

enum { FIRST_LISTEN_FD = 3 }; /* sd_listen_fds(3) */

_Noreturn static void run_child(const struct spawn *s, char **env, int log_fd, pid_t parent)
{
    setpgid(0, 0);
    int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(null_fd, STDIN_FILENO);
    dup2(log_fd, STDOUT_FILENO);
    dup2(log_fd, STDERR_FILENO);
    if (s->listen_fd >= 0) {
        if (s->listen_fd == FIRST_LISTEN_FD)
            fcntl(FIRST_LISTEN_FD, F_SETFD, 0);
        else
            dup2(s->listen_fd, FIRST_LISTEN_FD);
        for (char **e = env; *e; e++)
            if (strncmp(*e, "LISTEN_PID=", 11) == 0)
                snprintf(*e + 11, 11, "%d", (int)getpid());
    }
    unsigned uid, gid;
    if (s->unprivileged && harness_unprivileged(&uid, &gid))
        if (setgroups(0, NULL) < 0 || setgid(gid) < 0 || setuid(uid) < 0)
            _exit(126);
    /* After the change of account, which clears it. */
    prctl(PR_SET_PDEATHSIG, s->death_signal);
    if (getppid() != parent)
        _exit(126);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int signo = 1; signo < NSIG; signo++)
        signal(signo, SIG_DFL);
    execvpe(s->argv[0], (char *const *)s->argv, env);
    dprintf(STDERR_FILENO, "cannot run %s: %s\n", s->argv[0], strerror(errno));
    _exit(127);
}

struct test_proc *harness_spawn(const struct spawn *s)
{
    static int serial;
    struct test_proc *p = mem_new(struct test_proc);
    p->log_path = mem_printf("%s/%s-%d.log", harness_dir(), s->name, ++serial);
    set_up();
    int log_fd = open(p->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log_fd < 0)
        harness_fail("%s: %s", p->log_path, strerror(errno));
    char **env = child_env(s);
    pid_t parent = getpid();
    p->pid = fork();
    if (p->pid == 0)
        run_child(s, env, log_fd, parent);
    if (p->pid < 0)
        harness_fail("fork: %s", strerror(errno));
    setpgid(p->pid, p->pid);
    close(log_fd);
    free_env(env);
    p->next = procs;
    procs = p;
    return p;
}

struct test_proc *test_proc_start(const char *const *argv, const char *const *env, int listen_fd)
{
    const char *slash = strrchr(argv[0], '/');
    return harness_spawn(&(struct spawn){.argv = argv,
        .env = env,
        .name = slash ? slash + 1 : argv[0],
        .listen_fd = listen_fd,
        .death_signal = SIGKILL});
}

pid_t test_proc_pid(const struct test_proc *p)
{
    return p->pid;
}

void test_proc_signal(struct test_proc *p, int signo)
{
    if (!has_ended(p))
        kill(p->pid, signo);
}

bool test_proc_running(struct test_proc *p)
{
    return !has_ended(p);
}

int test_proc_wait(struct test_proc *p, int timeout_ms)
{
    int64_t end = harness_now_ms() + timeout_ms;
    while (!has_ended(p)) {
        if (harness_now_ms() > end)
            harness_fail("pid %d has not ended within %d ms", (int)p->pid, timeout_ms);
        harness_pause(2);
    }
    return WIFSIGNALED(p->status) ? 128 + WTERMSIG(p->status) : WEXITSTATUS(p->status);
}

const char *test_proc_log(struct test_proc *p)
{
    return harness_keep(harness_slurp(p->log_path, 64 << 20));
}

bool test_proc_logged(struct test_proc *p, const char *text)
{
    char *log = harness_slurp(p->log_path, 64 << 20);
    bool found = strstr(log, text) != NULL;
    free(log);
    return found;
}

bool test_proc_logged_with(struct test_proc *p, const char *event, const char *text)
{
    char *log = harness_slurp(p->log_path, 64 << 20);
    const char *name = harness_text("\"event\":\"%s\"", event);
    bool found = false;
    for (char *rest = log, *line; !found && (line = strsep(&rest, "\n"));)
        found = strstr(line, name) && strstr(line, text);
    free(log);
    return found;
}

/* The group outlives its leader: its other members come to us as orphans and are reaped here. */
static void kill_group(struct test_proc *p)
{
    int64_t end = harness_now_ms() + REAP_TIMEOUT_MS;
    if (p->reaped && killpg(p->pid, 0) < 0)
        return;
    while (harness_now_ms() < end) {
        killpg(p->pid, SIGKILL);
        has_ended(p);
        while (p->reaped && waitpid(-p->pid, NULL, WNOHANG) > 0)
            ;
        if (p->reaped && killpg(p->pid, 0) < 0)
            return;
        harness_pause(2);
    }
}

void test_proc_kill(struct test_proc *p)
{
    kill_group(p);
}

void test_proc_free(struct test_proc *p)
{
    for (struct test_proc **at = &procs; *at; at = &(*at)->next)
        if (*at == p) {
            *at = p->next;
            break;
        }
    free(p->log_path);
    free(p);
}
