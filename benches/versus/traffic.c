/* Generator and sink, driven by lines on standard input, answered by lines on standard output:
 *
 *   leg INDEX TARGET TARGET_PORT      leg INDEX sends there (and hears from there)
 *   run FIRST COUNT RATE MILLIS       packets round-robin over these legs, then waits for stragglers
 *
 * `traffic reflect INTERFACE OBJECT`, in the relay's place, sends every frame back until its input ends.
 *
 * Frames are released every 131 us, as the interrupt coalescing of a NIC would. Run inside the generator's
 * namespace: traffic INTERFACE OWN_ADDRESS OWN_MAC PEER_MAC OBJECT. `traffic gro INTERFACE` switches GRO on, which gives a
 * veth its NAPI. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/sockios.h>
#include <linux/types.h>
#include <net/if.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "traffic.h"

static int interface;

static void fail(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fprintf(stderr, "traffic: ");
	vfprintf(stderr, format, args);
	fprintf(stderr, ": %s\n", strerror(errno));
	va_end(args);
	if (interface)
		bpf_xdp_detach(interface, 0, NULL);
	exit(1);
}

static __u64 now(clockid_t clock)
{
	struct timespec time;
	clock_gettime(clock, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static void *map(struct bpf_object *object, const char *name, size_t bytes)
{
	int fd = bpf_object__find_map_fd_by_name(object, name);
	size_t page = sysconf(_SC_PAGESIZE);
	size_t size = (bytes + page - 1) / page * page;
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd < 0 || at == MAP_FAILED)
		fail("mapping %s", name);
	return at;
}

static int gro(const char *name)
{
	struct ethtool_value value = { .cmd = ETHTOOL_SGRO, .data = 1 };
	struct ifreq request = { .ifr_data = (void *)&value };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	if (fd < 0 || ioctl(fd, SIOCETHTOOL, &request) < 0)
		fail("GRO on %s", name);
	return 0;
}

static int reflect(const char *name, const char *path)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	if (!object || bpf_object__load(object))
		fail("loading %s", path);
	int program = bpf_program__fd(bpf_object__find_program_by_name(object, "reflect"));
	interface = if_nametoindex(name);
	if (!interface || bpf_xdp_attach(interface, program, XDP_FLAGS_DRV_MODE, NULL))
		fail("attaching to %s", name);
	puts("ready");
	fflush(stdout);
	while (getchar() != EOF)
		;
	bpf_xdp_detach(interface, 0, NULL);
	return 0;
}

static __u16 ip_check(struct leg *leg)
{
	__u32 sum = 0x4500 + (FRAME_BYTES - 14) + 0x4000 + (64 << 8) + IPPROTO_UDP;
	sum += (ntohl(leg->source) >> 16) + (ntohl(leg->source) & 0xffff);
	sum += (ntohl(leg->target) >> 16) + (ntohl(leg->target) & 0xffff);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return htons(~sum);
}

static void nap(__u64 until)
{
	struct timespec time = { until / 1000000000ull, until % 1000000000ull };
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

static void generate_until_alarm(int program)
{
	static __u8 data[FRAME_BYTES];
	struct xdp_md context = { .data_end = FRAME_BYTES, .ingress_ifindex = interface };
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = data, .data_size_in = sizeof data,
		    .ctx_in = &context, .ctx_size_in = sizeof context, .repeat = 0x7fffffff,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = BATCH);
	if (bpf_prog_test_run_opts(program, &options) && errno != EINTR)
		fail("sending");
}

static void alarmed(int signal)
{
	(void)signal;
}

static double percentile(__u64 *latencies, __u64 total, double share)
{
	__u64 seen = 0;
	for (int bucket = 0; bucket < BUCKETS; bucket++) {
		seen += latencies[bucket];
		if (total && seen >= total * share)
			return (((__u64)bucket + 1) << BUCKET_SHIFT) / 1000.0;
	}
	return 0;
}

static void run(int program, struct control *control, __u64 *latencies, double rate, __u64 millis)
{
	struct itimerval timer = { .it_value = { millis / 1000, millis % 1000 * 1000 } };
	__u64 start, end;
	double share;

	control->start = control->skipped = control->cuts = control->idle = 0;
	control->release_milli = rate * RELEASE_NS / 1e6;
	control->sent = control->received = control->late = control->lost = 0;
	control->wrong_source = control->wrong_length = control->wrong_partner = 0;
	control->wrong_sequence = control->other = control->latency_sum = 0;
	memset(latencies, 0, BUCKETS * sizeof *latencies);
	control->mark++;
	start = now(CLOCK_MONOTONIC);
	setitimer(ITIMER_REAL, &timer, NULL);
	generate_until_alarm(program);
	end = now(CLOCK_MONOTONIC);
	if (end > start + millis * 1000000ull)
		end = start + millis * 1000000ull;
	share = control->sent / (double)(control->sent + control->idle + 1);
	nap(now(CLOCK_MONOTONIC) + 100000000ull);
	printf("{\"offered\":%.0f,\"seconds\":%.4f,\"sent\":%llu,\"received\":%llu,\"late\":%llu,"
	       "\"wrong_source\":%llu,\"wrong_length\":%llu,\"wrong_partner\":%llu,"
	       "\"wrong_sequence\":%llu,\"rtcp\":%llu,\"latency_mean_us\":%.1f,\"latency_p50_us\":%.1f,"
	       "\"latency_p99_us\":%.1f,\"generator_busy\":%.3f,\"bursts_cut\":%llu}\n",
	       rate, (end - start) / 1e9, control->sent, control->received, control->late,
	       control->wrong_source, control->wrong_length, control->wrong_partner,
	       control->wrong_sequence, control->other,
	       control->received ? control->latency_sum / 1e3 / control->received : 0.0,
	       percentile(latencies, control->received, 0.5),
	       percentile(latencies, control->received, 0.99), share, control->cuts);
	fflush(stdout);
}

static void mac(const char *text, __u8 *into)
{
	if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", into, into + 1, into + 2, into + 3, into + 4,
		   into + 5) != 6)
		fail("no MAC address: %s", text);
}

int main(int count, char **args)
{
	if (count == 3 && !strcmp(args[1], "gro"))
		return gro(args[2]);
	if (count == 4 && !strcmp(args[1], "reflect"))
		return reflect(args[2], args[3]);
	if (count != 6)
		fail("usage: traffic INTERFACE OWN_ADDRESS OWN_MAC PEER_MAC OBJECT");
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	struct sigaction action = { .sa_handler = alarmed };
	sigaction(SIGALRM, &action, NULL);
	struct rlimit memory = { RLIM_INFINITY, RLIM_INFINITY };
	setrlimit(RLIMIT_MEMLOCK, &memory);
	struct bpf_object *object = bpf_object__open_file(args[5], NULL);
	if (!object || bpf_object__load(object))
		fail("loading %s", args[5]);
	struct leg *legs = map(object, "legs", LEGS_MAX * sizeof *legs);
	struct control *control = map(object, "controls", sizeof *control);
	__u64 *latencies = map(object, "latencies", BUCKETS * sizeof *latencies);
	int generate = bpf_program__fd(bpf_object__find_program_by_name(object, "generate"));
	int sink = bpf_program__fd(bpf_object__find_program_by_name(object, "sink"));
	interface = if_nametoindex(args[1]);
	if (!interface || bpf_xdp_attach(interface, sink, XDP_FLAGS_DRV_MODE, NULL))
		fail("attaching to %s", args[1]);
	mac(args[3], control->from);
	mac(args[4], control->to);

	char line[256], target[64];
	unsigned index, port, first, legs_used;
	unsigned long long millis;
	double rate;
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		if (sscanf(line, "leg %u %63s %u", &index, target, &port) == 3 && index < LEGS_MAX) {
			struct leg *leg = &legs[index];
			memset(leg, 0, sizeof *leg);
			leg->source = inet_addr(args[2]);
			leg->target = inet_addr(target);
			leg->source_port = htons(PORT_FIRST + 2 * index);
			leg->target_port = htons(port);
			leg->ip_check = ip_check(leg);
			leg->next = 1000;
		} else if (sscanf(line, "run %u %u %lf %llu", &first, &legs_used, &rate, &millis) == 4) {
			control->first = first;
			control->count = legs_used;
			run(generate, control, latencies, rate, millis);
		} else {
			fprintf(stderr, "traffic: not understood: %s", line);
		}
	}
	bpf_xdp_detach(interface, 0, NULL);
	return 0;
}
