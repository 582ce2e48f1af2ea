/* Time, the CPU time of this process and of the measured ones, and the way out. */
#define _GNU_SOURCE
#include "load.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static uint64_t clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

uint64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

uint64_t own_cpu_ns(void) { return clock_ns(CLOCK_PROCESS_CPUTIME_ID); }

void die(const char *what) {
    fprintf(stderr, "iscsi-load: %s (errno %d %s)\n", what, errno, strerror(errno));
    exit(2);
}

/* All threads' time on a CPU, to the nanosecond; /proc/PID/stat counts in ticks only. */
uint64_t cpu_ns_of(int pid) {
    char path[300];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *directory = opendir(path);
    if (!directory) {
        return 0;
    }
    uint64_t total = 0;
    struct dirent *entry;
    while ((entry = readdir(directory))) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        snprintf(path, sizeof path, "/proc/%d/task/%.32s/schedstat", pid, entry->d_name);
        FILE *file = fopen(path, "r");
        unsigned long long on_cpu = 0;
        if (file) {
            if (fscanf(file, "%llu", &on_cpu) == 1) {
                total += on_cpu;
            }
            fclose(file);
        }
    }
    closedir(directory);
    return total;
}

/* How the time divides into user and system. */
void cpu_seconds_of(int pid, double *user, double *system) {
    char line[4096], *name_end;
    snprintf(line, sizeof line, "/proc/%d/stat", pid);
    *user = *system = 0;
    FILE *file = fopen(line, "r");
    if (!file) {
        return;
    }
    if (fgets(line, sizeof line, file) && (name_end = strrchr(line, ')'))) {
        unsigned long long utime, stime;
        const char *format = "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu";
        if (sscanf(name_end + 2, format, &utime, &stime) == 2) {
            *user = (double)utime / (double)sysconf(_SC_CLK_TCK);
            *system = (double)stime / (double)sysconf(_SC_CLK_TCK);
        }
    }
    fclose(file);
}
