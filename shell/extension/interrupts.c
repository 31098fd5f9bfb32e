#define _GNU_SOURCE
#include "wire.h"
#include <poll.h>
#include <pthread.h>
#include <signal.h>

static volatile sig_atomic_t pressed;
static struct sigaction earlier;
static int waiting; /* threads that wait */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void on_interrupt(int number, siginfo_t *info, void *context) {
	pressed = 1;
	if (earlier.sa_flags & SA_SIGINFO)
		earlier.sa_sigaction(number, info, context);
	else if (earlier.sa_handler != SIG_DFL && earlier.sa_handler != SIG_IGN)
		earlier.sa_handler(number);
}

void interrupts_begin(void) {
	pthread_mutex_lock(&lock);
	if (waiting++ == 0) {
		struct sigaction ours = {.sa_sigaction = on_interrupt, .sa_flags = SA_SIGINFO | SA_RESTART};
		sigemptyset(&ours.sa_mask);
		pressed = 0;
		sigaction(SIGINT, NULL, &earlier);
		if (earlier.sa_flags & SA_SIGINFO || earlier.sa_handler != SIG_IGN)
			sigaction(SIGINT, &ours, NULL);
	}
	pthread_mutex_unlock(&lock);
}

void interrupts_end(void) {
	bool unanswered = false;
	pthread_mutex_lock(&lock);
	if (--waiting == 0) {
		struct sigaction now;
		sigaction(SIGINT, NULL, &now);
		if (now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_interrupt)
			sigaction(SIGINT, &earlier, NULL);
		unanswered = pressed && !(earlier.sa_flags & SA_SIGINFO) && earlier.sa_handler == SIG_DFL;
	}
	pthread_mutex_unlock(&lock);
	if (unanswered) /* nobody handled it before: then it ends the process, as it would have */
		raise(SIGINT);
}

bool interrupted(void) { return pressed; }

void interruptible_sleep(int milliseconds) {
	if (!interrupted())
		poll(NULL, 0, milliseconds);
}
