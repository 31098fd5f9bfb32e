#define _GNU_SOURCE
#include "wire.h"
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
	else if (earlier.sa_handler != SIG_DFL)
		earlier.sa_handler(number);
}

static bool earlier_is(void (*handler)(int)) { return !(earlier.sa_flags & SA_SIGINFO) && earlier.sa_handler == handler; }

void interrupts_begin(void) {
	struct sigaction ours = {.sa_sigaction = on_interrupt, .sa_flags = SA_SIGINFO | SA_RESTART};
	pthread_mutex_lock(&lock);
	if (waiting++ == 0) {
		pressed = 0;
		sigaction(SIGINT, NULL, &earlier);
		if (!earlier_is(SIG_IGN))
			sigaction(SIGINT, &ours, NULL);
	}
	pthread_mutex_unlock(&lock);
}

void interrupts_end(void) {
	struct sigaction now;
	pthread_mutex_lock(&lock);
	bool last = --waiting == 0;
	sigaction(SIGINT, NULL, &now);
	if (last && now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_interrupt)
		sigaction(SIGINT, &earlier, NULL);
	pthread_mutex_unlock(&lock);
	if (last && pressed && earlier_is(SIG_DFL)) /* nobody handles it: then it ends the process, as it would have */
		raise(SIGINT);
}

bool interrupted(void) { return pressed; }
