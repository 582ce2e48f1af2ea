/* Where callgrind counts: from start_counting to stop_counting. Nothing happens outside of valgrind. */
#include <valgrind/callgrind.h>

void start_counting(void);
void stop_counting(void);

void start_counting(void) { CALLGRIND_START_INSTRUMENTATION; }

void stop_counting(void) { CALLGRIND_STOP_INSTRUMENTATION; }
