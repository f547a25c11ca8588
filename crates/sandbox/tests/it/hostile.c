/* A plugin that means harm: tries one thing, named by its arguments. Exits with 0 when it was
 * done, and with 1 when it was refused; then the reason is on standard output. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static const char *arg1, *arg2;

static int is(const char *attempt, const char *name) { return strcmp(attempt, name) == 0; }
static long number(const char *text) { return strtol(text, NULL, 10); }

static struct sockaddr_in to(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(number(arg2))};
    inet_pton(AF_INET, arg1, &address.sin_addr);
    return address;
}

static long tcp(int protocol) {
    struct sockaddr_in address = to();
    int fd = socket(AF_INET, SOCK_STREAM, protocol);
    return fd < 0 ? -1 : connect(fd, (void *)&address, sizeof address);
}

static long tcp6(void) {
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(number(arg2))};
    inet_pton(AF_INET6, arg1, &address.sin6_addr);
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    return fd < 0 ? -1 : connect(fd, (void *)&address, sizeof address);
}

static long fast_open(int by_message) {
    struct sockaddr_in address = to();
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) return -1;
    if (!by_message) return sendto(fd, "x", 1, MSG_FASTOPEN, (void *)&address, sizeof address);
    struct iovec data = {"x", 1};
    struct msghdr message = {&address, sizeof address, &data, 1, 0, 0, 0};
    return sendmsg(fd, &message, MSG_FASTOPEN);
}

static long fast_open_many(void) {
    struct sockaddr_in address = to();
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) return -1;
    struct iovec data = {"x", 1};
    struct mmsghdr messages[1] = {{.msg_hdr = {&address, sizeof address, &data, 1, 0, 0, 0}}};
    return sendmmsg(fd, messages, 1, MSG_FASTOPEN);
}

static long datagram(void) {
    struct sockaddr_in address = to();
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    return fd < 0 ? -1 : sendto(fd, "x", 1, 0, (void *)&address, sizeof address);
}

static socklen_t unix_address(struct sockaddr_un *address, int abstract) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    strncpy(address->sun_path + abstract, arg1, sizeof address->sun_path - 2);
    return offsetof(struct sockaddr_un, sun_path) + abstract + strlen(arg1) + !abstract;
}

static long unix_stream(int abstract) {
    struct sockaddr_un address;
    socklen_t length = unix_address(&address, abstract);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return fd < 0 ? -1 : connect(fd, (void *)&address, length);
}

/* A pair needs no `socket`, and its datagrams can be sent to anybody. */
static long pair_datagram(void) {
    struct sockaddr_un address;
    socklen_t length = unix_address(&address, 0);
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, fds)) return -1;
    return sendto(fds[0], "x", 1, 0, (void *)&address, length);
}

static long pair_stream(void) {
    struct sockaddr_un address;
    socklen_t length = unix_address(&address, 0);
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds)) return -1;
    close(fds[1]);
    return connect(fds[0], (void *)&address, length);
}

static long bind_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return fd < 0 ? -1 : bind(fd, (void *)&address, sizeof address);
}

static long listen_anywhere(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return fd < 0 ? -1 : listen(fd, 1);
}

static long resolve(void) {
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_family = AF_INET}, *found;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(53)};
    (void)hints, (void)found;
    inet_pton(AF_INET, "127.0.0.53", &address.sin_addr);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    return fd < 0 ? -1 : connect(fd, (void *)&address, sizeof address);
}

static long child(long pid) {
    if (pid == 0) _exit(0);
    if (pid > 0) waitpid(pid, NULL, 0);
    return pid;
}

static long run(void) {
    char *const arguments[] = {(char *)arg1, NULL};
    return execv(arg1, arguments);
}

static long run_anonymous(void) {
    int from = open(arg1, O_RDONLY), copy = syscall(SYS_memfd_create, "x", 0);
    if (copy < 0) return -1;
    char buffer[65536];
    for (ssize_t n; (n = read(from, buffer, sizeof buffer)) > 0;)
        if (write(copy, buffer, n) < 0) return -1;
    char *const arguments[] = {"x", NULL};
    return syscall(SYS_execveat, copy, "", arguments, arguments + 1, AT_EMPTY_PATH);
}

static long hog(size_t mebibytes, int flags) {
    for (size_t n = 0; n < mebibytes; n++) {
        char *page = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED) return -1;
        page[0] = 1;
    }
    return 0;
}

static long share(void) {
    void *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? -1 : 0;
}

static void *sleeps(void *nothing) {
    pause();
    return nothing;
}

static long threads(void) {
    for (int n = 0; n < 20000; n++) {
        pthread_t thread;
        if ((errno = pthread_create(&thread, NULL, sleeps, NULL))) return -1;
    }
    return 0;
}

static long io_uring(void) {
    char parameters[120] = {0};
    return syscall(SYS_io_uring_setup, 1, parameters);
}

/* The time that this process itself spends outside the kernel. */
static long perf(void) {
    struct perf_event_attr what = {.type = PERF_TYPE_SOFTWARE, .size = sizeof what};
    what.config = PERF_COUNT_SW_TASK_CLOCK;
    what.exclude_kernel = what.exclude_hv = 1;
    return syscall(SYS_perf_event_open, &what, 0, -1, -1, 0);
}

static long many_descriptors(void) {
    for (int n = 0; n < 4096; n++)
        if (dup(0) < 0) return -1;
    return 0;
}

static long read_memory(void) {
    char buffer[8];
    struct iovec local = {buffer, 8}, remote = {(void *)&arg1, 8};
    return process_vm_readv(number(arg1), &local, 1, &remote, 1, 0);
}

static long signal_by_owner(void) {
    int fds[2];
    if (pipe(fds)) return -1;
    if (fcntl(fds[0], F_SETOWN, (int)number(arg1))) return -1;
    if (fcntl(fds[0], F_SETSIG, SIGTERM)) return -1;
    if (fcntl(fds[0], F_SETFL, O_ASYNC)) return -1;
    /* Allowed so far; Landlock drops the signal itself. */
    return write(fds[1], "x", 1) == 1 ? 0 : -1;
}

static long queue_signal(void) {
    siginfo_t info = {.si_code = SI_QUEUE};
    return syscall(SYS_rt_sigqueueinfo, number(arg1), SIGTERM, &info);
}

static long lower_limit_of(void) {
    struct rlimit none = {0, 0};
    return prlimit(number(arg1), RLIMIT_CORE, &none, NULL);
}

static long raise_limit(void) {
    struct rlimit more = {1 << 20, 1 << 20};
    return setrlimit(RLIMIT_NOFILE, &more);
}

static long attempt(const char *it) {
    if (is(it, "nothing")) return 0;
    if (is(it, "read")) return open(arg1, O_RDONLY);
    if (is(it, "write")) return open(arg1, O_WRONLY | O_CREAT, 0600);
    if (is(it, "truncate")) return truncate(arg1, 0);
    if (is(it, "mkdir")) return mkdir(arg1, 0700);
    if (is(it, "unlink")) return unlink(arg1);
    if (is(it, "rename")) return rename(arg1, arg2);
    if (is(it, "symlink")) return symlink("/", arg1);
    if (is(it, "list")) return open(arg1, O_RDONLY | O_DIRECTORY);
    if (is(it, "chmod")) return chmod(arg1, 0777);
    if (is(it, "touch")) return utimes(arg1, NULL);
    if (is(it, "look")) return access(arg1, F_OK);
    if (is(it, "exec")) return run();
    if (is(it, "exec-anonymous")) return run_anonymous();
    if (is(it, "fork")) return child(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    if (is(it, "fork-by-library")) return child(fork());
    if (is(it, "namespace")) return unshare(CLONE_NEWUSER);
    /* Nowhere, which the kernel says before it asks who wants it. */
    if (is(it, "mount")) return mount("none", "/no/such/place", "tmpfs", 0, NULL);
    if (is(it, "tcp")) return tcp(0);
    if (is(it, "tcp6")) return tcp6();
    if (is(it, "mptcp")) return tcp(IPPROTO_MPTCP);
    if (is(it, "sctp")) return tcp(IPPROTO_SCTP);
    if (is(it, "fast-open")) return fast_open(0);
    if (is(it, "fast-open-message")) return fast_open(1);
    if (is(it, "fast-open-many")) return fast_open_many();
    if (is(it, "udp")) return datagram();
    if (is(it, "dns")) return resolve();
    if (is(it, "unix")) return unix_stream(0);
    if (is(it, "unix-abstract")) return unix_stream(1);
    if (is(it, "unix-pair-datagram")) return pair_datagram();
    if (is(it, "unix-pair-stream")) return pair_stream();
    if (is(it, "netlink")) return socket(AF_NETLINK, SOCK_RAW, 0);
    /* Of no known type: likewise. */
    if (is(it, "packet")) return socket(AF_PACKET, 11, 0);
    if (is(it, "vsock")) return socket(AF_VSOCK, SOCK_STREAM, 0);
    if (is(it, "bind")) return bind_port();
    if (is(it, "listen")) return listen_anywhere();
    if (is(it, "ptrace")) return ptrace(PTRACE_SEIZE, number(arg1), 0, 0);
    if (is(it, "read-memory")) return read_memory();
    if (is(it, "kill")) return kill(number(arg1), SIGTERM);
    if (is(it, "thread-kill")) return syscall(SYS_tgkill, number(arg1), number(arg1), SIGTERM);
    if (is(it, "queue-signal")) return queue_signal();
    if (is(it, "signal-by-owner")) return signal_by_owner();
    if (is(it, "pidfd")) return syscall(SYS_pidfd_open, number(arg1), 0);
    if (is(it, "limit-of")) return lower_limit_of();
    if (is(it, "raise-limit")) return raise_limit();
    if (is(it, "descriptors")) return many_descriptors();
    if (is(it, "hog-private")) return hog(2048, MAP_PRIVATE);
    if (is(it, "hog-shared")) return hog(2048, MAP_SHARED);
    if (is(it, "hog-growsdown")) return hog(2048, MAP_PRIVATE | MAP_GROWSDOWN);
    if (is(it, "share-memory")) return share();
    if (is(it, "threads")) return threads();
    if (is(it, "shm")) return shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
    if (is(it, "memfd")) return syscall(SYS_memfd_create, "x", 0);
    if (is(it, "io-uring")) return io_uring();
    /* Too long, which the kernel says before it asks who wants it. */
    if (is(it, "bpf")) return syscall(SYS_bpf, 0, "", 1 << 20);
    if (is(it, "userfaultfd")) return syscall(SYS_userfaultfd, 1);
    if (is(it, "perf")) return perf();
    if (is(it, "keys")) return syscall(SYS_keyctl, 0, -3, 1);
    if (is(it, "personality")) return personality(READ_IMPLIES_EXEC);
    if (is(it, "be-inspected")) return prctl(PR_SET_DUMPABLE, 1);
    if (is(it, "terminal")) return ioctl(0, TIOCSTI, "x");
    errno = ENOTSUP;
    return -1;
}

int main(int count, char **arguments) {
    arg1 = count > 2 ? arguments[2] : "";
    arg2 = count > 3 ? arguments[3] : "";
    if (attempt(count > 1 ? arguments[1] : "") >= 0) {
        puts("done");
        return 0;
    }
    printf("refused: %s\n", strerror(errno));
    return 1;
}
