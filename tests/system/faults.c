/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * Preloaded into jitgated by tests: fails one call, or it and all that follow, or kills the program
 * before one, of those that are made while a test has this armed. A call is an allocation, or a
 * system call that can fail for want of something. The test and this share a page, struct faults,
 * by which the test also sets the wall clock that the program sees.
 *
 * System calls are caught where they enter the kernel (Documentation/admin-guide/
 * syscall-user-dispatch.rst), so that those of libraries and of the C library itself count too: the
 * kernel answers each with SIGSYS while faults->trap is set, and the handler makes the call, from
 * where calls are exempt, or says how it failed. x86-64 only, from kernel 5.11 on.
 */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define PROGRAM "jitgated"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_ON 1
#endif

/* As tests/system/faults.py packs it. */
struct faults {
	volatile uint8_t trap; /* catch system calls: read by the kernel */
	volatile uint8_t memory; /* catch allocations */
	volatile uint8_t from_then_on; /* all after the one that fails fail too */
	volatile uint8_t choice; /* which of a call's errors */
	volatile uint8_t kills; /* instead: the program, before the call */
	uint8_t padding[3];
	volatile uint32_t fail_at; /* the call that fails, from 1; or 0 */
	volatile uint32_t n_calls;
	volatile uint32_t n_failed;
	char only[16]; /* the system call by that name alone; or "" */
	uint32_t only_from, only_to; /* allocations for the program's code there alone; or 0 */
	char where[96]; /* the first that failed */
	volatile int64_t ahead_usec; /* of the machine's wall clock */
};

static struct faults *faults;

#define ERRORS_MAX 3

static const struct call {
	int number;
	const char *name;
	int errors[ERRORS_MAX];
} calls[] = {
#define CALL(name, ...) \
	{ \
		SYS_##name, #name, \
		{ \
			__VA_ARGS__ \
		} \
	}
	CALL(open, EMFILE, ENOMEM, EIO),
	CALL(openat, EMFILE, ENOMEM, EIO),
	CALL(read, EIO, EINTR),
	CALL(pread64, EIO, EINTR),
	CALL(write, ENOSPC, EIO, EINTR),
	CALL(writev, ENOSPC, EIO, EINTR),
	CALL(pwrite64, ENOSPC, EIO, EINTR),
	CALL(fsync, EIO, ENOSPC),
	CALL(fdatasync, EIO, ENOSPC),
	CALL(ftruncate, EIO),
	CALL(rename, ENOSPC, EIO),
	CALL(renameat, ENOSPC, EIO),
	CALL(unlink, EIO),
	CALL(unlinkat, EIO),
	CALL(mkdir, ENOSPC, EACCES),
	CALL(chmod, EIO),
	CALL(fchmod, EIO),
	CALL(stat, ENOMEM),
	CALL(lstat, ENOMEM),
	CALL(fstat, ENOMEM),
	CALL(newfstatat, ENOMEM),
	CALL(readlink, ENOMEM),
	CALL(getdents64, EIO),
	CALL(flock, ENOLCK, EINTR),
	CALL(mmap, ENOMEM),
	CALL(socket, EMFILE, ENOBUFS),
	CALL(bind, ENOMEM),
	CALL(listen, ENOBUFS),
	CALL(accept4, EMFILE, ENOBUFS, ECONNABORTED),
	CALL(connect, EAGAIN, EINTR),
	CALL(sendto, ENOBUFS, EAGAIN, EINTR),
	CALL(sendmsg, ENOBUFS, EAGAIN, EINTR),
	CALL(recvfrom, ENOBUFS, EINTR, ENOMEM),
	CALL(recvmsg, ENOBUFS, EINTR, ENOMEM),
	CALL(getsockopt, ENOBUFS),
	CALL(setsockopt, ENOBUFS),
	CALL(getsockname, ENOBUFS),
	CALL(epoll_create1, EMFILE, ENOMEM),
	CALL(epoll_ctl, ENOMEM, ENOSPC),
	CALL(epoll_wait, EINTR),
	CALL(poll, EINTR),
	CALL(signalfd4, EMFILE),
	CALL(timerfd_create, EMFILE),
	CALL(timerfd_settime, ENOMEM),
	CALL(inotify_init1, EMFILE),
	CALL(inotify_add_watch, ENOSPC),
	CALL(getrandom, EAGAIN, EINTR),
#undef CALL
};

/* Whether the call that is being made fails. */
static int count_and_judge(void)
{
	uint32_t n = ++faults->n_calls;

	if (faults->fail_at == 0 || n < faults->fail_at)
		return 0;
	if (n > faults->fail_at && !faults->from_then_on)
		return 0;
	return ++faults->n_failed;
}

/* Raw system calls, and the return from the handler: the one place that is exempt. */
extern const char __start_exempt[], __stop_exempt[];
long raw_call(long number, long a, long b, long c, long d, long e, long f);
void raw_return(void);

__asm__(".section exempt,\"ax\",@progbits\n"
	".hidden raw_call\n"
	".globl raw_call\n"
	"raw_call:\n"
	"	mov %rdi, %rax\n"
	"	mov %rsi, %rdi\n"
	"	mov %rdx, %rsi\n"
	"	mov %rcx, %rdx\n"
	"	mov %r8, %r10\n"
	"	mov %r9, %r8\n"
	"	mov 8(%rsp), %r9\n"
	"	syscall\n"
	"	ret\n"
	".hidden raw_return\n"
	".globl raw_return\n"
	"raw_return:\n"
	"	mov $15, %eax\n" /* rt_sigreturn */
	"	syscall\n"
	"	hlt\n" /* what follows a call must be inside too */
	".previous\n");

static int system_call_error(int number)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		int error, n_failed;

		if (calls[i].number != number)
			continue;
		if (faults->only[0] && strcmp(faults->only, calls[i].name) != 0)
			return 0;
		n_failed = count_and_judge();
		if (n_failed == 0)
			return 0;
		if (n_failed == 1)
			strcpy(faults->where, calls[i].name);
		if (faults->kills)
			raw_call(SYS_kill, raw_call(SYS_getpid, 0, 0, 0, 0, 0, 0), SIGKILL, 0, 0, 0,
				0);
		error = calls[i].errors[faults->choice % ERRORS_MAX];
		if (!error)
			error = calls[i].errors[0];
		/* An interruption is over at once. */
		return error == EINTR && n_failed > 1 ? 0 : error;
	}
	return 0;
}

static void on_system_call(int signal, siginfo_t *info, void *context)
{
	ucontext_t *caller = context;
	greg_t *registers = caller->uc_mcontext.gregs;
	int error;

	(void)signal;
	/* Another signal's handler returns: with its own stack, from where calls are exempt. */
	if (info->si_syscall == SYS_rt_sigreturn) {
		registers[REG_RIP] = (greg_t)raw_return;
		return;
	}
	error = system_call_error(info->si_syscall);
	registers[REG_RAX] = error
		? -error
		: raw_call(info->si_syscall, registers[REG_RDI], registers[REG_RSI],
			  registers[REG_RDX], registers[REG_R10], registers[REG_R8],
			  registers[REG_R9]);
	/* The return from here sets the mask that was found at the entry. */
	if (info->si_syscall == SYS_rt_sigprocmask)
		raw_call(SYS_rt_sigprocmask, SIG_BLOCK, 0, (long)&caller->uc_sigmask,
			sizeof(uint64_t), 0, 0);
}

/* The C library's sigaction() would have the handler return through itself. */
static int catch_system_calls(void)
{
	const struct {
		void (*handler)(int, siginfo_t *, void *);
		unsigned long flags;
		void (*restorer)(void);
		uint64_t mask;
	} action = { on_system_call, SA_SIGINFO | SA_NODEFER | 0x04000000 /* SA_RESTORER */,
		raw_return, 0 };

	if (raw_call(SYS_rt_sigaction, SIGSYS, (long)&action, 0, sizeof(action.mask), 0, 0) < 0)
		return -1;
	return prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, __start_exempt,
		__stop_exempt - __start_exempt, &faults->trap);
}

/* A sanitizer looks for leaks at the end, with signals blocked: SIGSYS would kill the program. */
static void end(void)
{
	faults->trap = 0;
}

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("JITGATE_FAULTS");
	int fd;

	if (!path || strcmp(program_invocation_short_name, PROGRAM) != 0)
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	faults = mmap(NULL, sizeof(*faults), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (faults == MAP_FAILED || catch_system_calls() < 0 || atexit(end) != 0)
		abort();
}

/* Where in which object the caller is, for addr2line. */
struct place {
	const char *object;
	ptrdiff_t offset;
};

static struct place place_of(const void *caller)
{
	Dl_info info = {};

	if (!dladdr(caller, &info) || !info.dli_fname)
		return (struct place){ "", 0 };
	return (struct place){
		strrchr(info.dli_fname, '/') ? strrchr(info.dli_fname, '/') + 1 : info.dli_fname,
		(const char *)caller - (const char *)info.dli_fbase - 1,
	};
}

static int counts(const void *caller)
{
	struct place place;

	if (faults->only_to == 0)
		return 1;
	place = place_of(caller);
	return strcmp(place.object, PROGRAM) == 0 && place.offset >= faults->only_from &&
		place.offset < faults->only_to;
}

static int allocation_fails(const void *caller)
{
	int n_failed;

	if (!faults || !faults->memory || !counts(caller))
		return 0;
	n_failed = count_and_judge();
	if (n_failed == 0)
		return 0;
	if (n_failed == 1) {
		const struct place place = place_of(caller);

		snprintf(faults->where, sizeof(faults->where), "%s+0x%tx", place.object,
			place.offset);
	}
	errno = ENOMEM;
	return 1;
}

#define REAL(name) (real ? real : (*(void **)&real = dlsym(RTLD_NEXT, name), real))

void *malloc(size_t n)
{
	static void *(*real)(size_t);

	return allocation_fails(__builtin_return_address(0)) ? NULL : REAL("malloc")(n);
}

void *calloc(size_t n, size_t n_bytes)
{
	static void *(*real)(size_t, size_t);

	return allocation_fails(__builtin_return_address(0)) ? NULL : REAL("calloc")(n, n_bytes);
}

void *realloc(void *old, size_t n)
{
	static void *(*real)(void *, size_t);

	return allocation_fails(__builtin_return_address(0)) ? NULL : REAL("realloc")(old, n);
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
	static int (*real)(clockid_t, struct timespec *);
	int result = REAL("clock_gettime")(clock, ret);

	if (faults && clock == CLOCK_REALTIME) {
		const int64_t usec = ret->tv_nsec / 1000 + faults->ahead_usec;

		ret->tv_sec += usec / 1000000;
		ret->tv_nsec = usec % 1000000 * 1000 + ret->tv_nsec % 1000;
	}
	return result;
}
