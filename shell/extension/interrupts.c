#define _GNU_SOURCE
#include "thresher.h"
#include <signal.h>

static volatile sig_atomic_t pressed; /* so many times */
static struct sigaction earlier;
static int waiting; /* threads that wait */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void on_interrupt(int number, siginfo_t *info, void *context) {
	pressed++;
	if (earlier.sa_flags & SA_SIGINFO)
		earlier.sa_sigaction(number, info, context);
	else
		earlier.sa_handler(number);
}

/* Where nobody handles it, Ctrl-C does what it would do: it ends the process, or nothing. */
int interrupts_begin(void) {
	struct sigaction ours = {.sa_sigaction = on_interrupt, .sa_flags = SA_SIGINFO | SA_RESTART};
	pthread_mutex_lock(&lock);
	if (waiting++ == 0) {
		sigaction(SIGINT, NULL, &earlier);
		if (earlier.sa_handler != SIG_DFL && earlier.sa_handler != SIG_IGN)
			sigaction(SIGINT, &ours, NULL);
	}
	pthread_mutex_unlock(&lock);
	return pressed;
}

void interrupts_end(void) {
	struct sigaction now;
	pthread_mutex_lock(&lock);
	sigaction(SIGINT, NULL, &now);
	if (--waiting == 0 && now.sa_sigaction == on_interrupt)
		sigaction(SIGINT, &earlier, NULL);
	pthread_mutex_unlock(&lock);
}

bool interrupted(int since) { return pressed != since; }
