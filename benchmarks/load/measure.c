/* What is counted from the end of the warm-up to the end of the run, and the report. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>

/* CPU time used so far, by the target and by this process. */
struct usage {
    uint64_t target_ns, own_ns;
    double user, system;
};

static struct {
    int on;
    uint64_t start, end, ios, latency_ns, sends, receives;
    struct usage used;
    double seconds;
    uint32_t histogram[HISTOGRAM];
} totals;

static struct usage usage_now(void) {
    struct usage u = {.own_ns = own_cpu_ns()};
    for (int i = 0; i < opt.pid_count; i++) {
        double user, system;
        u.target_ns += cpu_ns_of(opt.pids[i]);
        cpu_seconds_of(opt.pids[i], &user, &system);
        u.user += user;
        u.system += system;
    }
    return u;
}

int measuring(void) { return totals.on; }

/* The warm-up begins now. */
void measure_from(uint64_t now) {
    totals.start = now + (uint64_t)(opt.warm_up * 1e9);
    totals.end = totals.start + (uint64_t)(opt.seconds * 1e9);
}

/* Begin to count when it is time; returns 0 when the run is over. */
int measure_until(uint64_t now) {
    if (!totals.on && now >= totals.start) {
        totals.on = 1;
        totals.start = now;
        totals.used = usage_now();
    } else if (totals.on && now >= totals.end) {
        struct usage after = usage_now(), *used = &totals.used;
        *used = (struct usage){after.target_ns - used->target_ns, after.own_ns - used->own_ns,
                               after.user - used->user, after.system - used->system};
        totals.seconds = (double)(now - totals.start) / 1e9;
        return 0;
    }
    return 1;
}

void count_io(uint64_t latency) {
    uint64_t bucket = latency / 100;
    totals.ios++;
    totals.latency_ns += latency;
    totals.histogram[bucket < HISTOGRAM ? bucket : HISTOGRAM - 1]++;
}

void count_calls(uint32_t sends, uint32_t receives) {
    totals.sends += totals.on ? sends : 0;
    totals.receives += totals.on ? receives : 0;
}

/* The latency in microseconds that so many per cent of the I/Os did not exceed. */
static double percentile(unsigned percent) {
    uint64_t count = 0;
    for (int i = 0; i < HISTOGRAM; i++) {
        count += totals.histogram[i];
        if (count * 100 >= totals.ios * percent) {
            return i / 10.0;
        }
    }
    return HISTOGRAM / 10.0;
}

void report(const struct connection *all, int count) {
    double ios = totals.ios ? (double)totals.ios : 1, seconds = totals.seconds;
    const struct usage *used = &totals.used;
    uint64_t least = count ? all->done : 0, most = least;
    for (int i = 1; i < count; i++) {
        least = all[i].done < least ? all[i].done : least;
        most = all[i].done > most ? all[i].done : most;
    }
    const char *text = "%s bs=%u qd=%d conns=%d: ios=%llu iops=%.0f MB/s=%.1f lat avg=%.1f p50=%.1f p99=%.1f us | "
                       "target cpu %.2f us/io (user %.2f sys %.2f) busy %.1f%% | generator %.2f us/io busy %.1f%% "
                       "sends=%llu recvs=%llu conn_ios=%llu..%llu\n";
    const char *json = "{\"mode\":\"%s\",\"bs\":%u,\"qd\":%d,\"conns\":%d,\"ios\":%llu,\"iops\":%.0f,\"MBps\":%.1f,"
                       "\"lat_us\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"cpu_us_per_io\":%.3f,\"cpu_user_us\":%.2f,"
                       "\"cpu_sys_us\":%.2f,\"cpu_pct\":%.1f,\"lg_us_per_io\":%.2f,\"lg_pct\":%.1f,\"sends\":%llu,"
                       "\"recvs\":%llu,\"conn_ios_min\":%llu,\"conn_ios_max\":%llu}\n";
    double bytes = opt.nop || opt.logins ? 0 : ios * opt.block;
    printf(opt.json ? json : text, opt.mode, opt.block, opt.depth, opt.connections, (unsigned long long)totals.ios,
           (double)totals.ios / seconds, bytes / seconds / 1e6, (double)totals.latency_ns / 1000.0 / ios,
           percentile(50), percentile(99), (double)used->target_ns / 1000.0 / ios, used->user * 1e6 / ios,
           used->system * 1e6 / ios, (double)used->target_ns / seconds / 1e7, (double)used->own_ns / 1000.0 / ios,
           (double)used->own_ns / seconds / 1e7, (unsigned long long)totals.sends, (unsigned long long)totals.receives,
           (unsigned long long)least, (unsigned long long)most);
}
