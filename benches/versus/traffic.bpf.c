/* Generator and sink. The generator is run by BPF_PROG_RUN in live-frame mode, without pause: each run makes
 * the next leg's packet and sends it out of the interface, if one is due, and drops its frame if not. The sink takes what comes back off the interface before
 * the stack sees it, and checks it. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "traffic.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LEGS_MAX);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct leg);
} legs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct control);
} controls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BUCKETS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} latencies SEC(".maps");

struct rtp {
	__u8 version, type;
	__be16 seq;
	__be32 timestamp, ssrc;
	/* Payload: when it was sent, by which leg, its number there, and which run it belongs to. */
	__u64 at;
	__u32 leg, number, mark;
} __attribute__((packed));

struct packet {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	struct rtp rtp;
} __attribute__((packed));

/* Whether a packet is due now. */
static __always_inline int is_due(struct control *control, __u64 now)
{
	if (!control->start)
		control->start = now;
	__u64 due = (now - control->start) / RELEASE_NS * control->release_milli / 1000;
	__u64 done = control->sent + control->skipped;
	if (due > done + BURST_MAX) {
		/* After a pause of the machine the burst would overrun any queue. */
		control->skipped = due - BURST_MAX - control->sent;
		control->cuts++;
	}
	return due > done;
}

SEC("xdp")
int generate(struct xdp_md *context)
{
	struct packet *packet = (void *)(long)context->data;
	__u32 zero = 0;
	struct control *control = bpf_map_lookup_elem(&controls, &zero);

	if (!control || (void *)(packet + 1) > (void *)(long)context->data_end)
		return XDP_ABORTED;
	__u64 now = bpf_ktime_get_ns();
	if (!is_due(control, now)) {
		/* Waits a little here, not in the frames' allocator, whose lock the relay needs to give frames back. */
		__u64 next = now - (now - control->start) % RELEASE_NS + RELEASE_NS;
		for (int look = 0; look < LOOKS && now < next; look++)
			now = bpf_ktime_get_ns();
		if (!is_due(control, now)) {
			control->idle++;
			return XDP_DROP;
		}
	}
	__u32 at = control->next + 1;
	if (at >= control->count)
		at = 0;
	control->next = at;
	__u32 index = control->first + at;
	struct leg *leg = bpf_map_lookup_elem(&legs, &index);
	if (!leg)
		return XDP_ABORTED;
	__builtin_memcpy(packet->eth.h_dest, control->to, 6);
	__builtin_memcpy(packet->eth.h_source, control->from, 6);
	packet->eth.h_proto = bpf_htons(ETH_P_IP);
	packet->ip.version = 4;
	packet->ip.ihl = 5;
	packet->ip.tos = 0;
	packet->ip.tot_len = bpf_htons(FRAME_BYTES - 14);
	packet->ip.id = 0;
	packet->ip.frag_off = bpf_htons(0x4000);
	packet->ip.ttl = 64;
	packet->ip.protocol = IPPROTO_UDP;
	packet->ip.check = leg->ip_check;
	packet->ip.saddr = leg->source;
	packet->ip.daddr = leg->target;
	packet->udp.source = leg->source_port;
	packet->udp.dest = leg->target_port;
	packet->udp.len = bpf_htons(8 + RTP_BYTES);
	packet->udp.check = 0;
	packet->rtp.version = 0x80;
	packet->rtp.type = 0;
	packet->rtp.seq = bpf_htons((__u16)leg->next);
	packet->rtp.timestamp = bpf_htonl(leg->next * 160);
	packet->rtp.ssrc = bpf_htonl(0x1000 + index);
	packet->rtp.at = now;
	packet->rtp.leg = index;
	packet->rtp.number = leg->next;
	packet->rtp.mark = control->mark;
	leg->next++;
	control->sent++;
	return XDP_TX;
}

SEC("xdp")
int sink(struct xdp_md *context)
{
	struct packet *packet = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	__u32 zero = 0;
	struct control *control = bpf_map_lookup_elem(&controls, &zero);

	if (!control || (void *)packet + HEADERS_BYTES > end)
		return XDP_PASS;
	if (packet->eth.h_proto != bpf_htons(ETH_P_IP) || packet->ip.protocol != IPPROTO_UDP)
		return XDP_PASS;
	__u32 port = bpf_ntohs(packet->udp.dest);
	if (port < PORT_FIRST || port >= PORT_FIRST + 2 * LEGS_MAX)
		return XDP_PASS;
	if (port & 1) {
		/* RTCP: nobody listens, and an ICMP error would disturb. */
		control->other++;
		return XDP_DROP;
	}
	__u32 index = (port - PORT_FIRST) / 2;
	struct leg *leg = bpf_map_lookup_elem(&legs, &index);
	if (!leg)
		return XDP_DROP;
	if (packet->ip.saddr != leg->target || packet->udp.source != leg->target_port) {
		control->wrong_source++;
		return XDP_DROP;
	}
	if ((void *)(packet + 1) > end || packet->udp.len != bpf_htons(8 + RTP_BYTES)) {
		control->wrong_length++;
		return XDP_DROP;
	}
	if (packet->rtp.leg != (index ^ 1)) {
		control->wrong_partner++;
		return XDP_DROP;
	}
	__u32 number = packet->rtp.number;
	__u32 step = number - leg->expected;
	__u32 seq = bpf_ntohs(packet->rtp.seq);
	/* A stream that goes on is numbered on as its source is. */
	if (leg->heard && (__u16)(seq - leg->out_seq) != (__u16)step)
		control->wrong_sequence++;
	leg->heard = 1;
	leg->expected = number + 1;
	leg->out_seq = seq + 1;
	if (packet->rtp.mark != control->mark) {
		control->late++;
		return XDP_DROP;
	}
	control->received++;
	__u64 took = bpf_ktime_get_ns() - packet->rtp.at;
	control->latency_sum += took;
	__u32 bucket = took >> BUCKET_SHIFT;
	if (bucket >= BUCKETS)
		bucket = BUCKETS - 1;
	__u64 *count = bpf_map_lookup_elem(&latencies, &bucket);
	if (count)
		*count += 1;
	return XDP_DROP;
}

/* In the relay's place: every frame goes back at once, to the other leg of its call. */
SEC("xdp")
int reflect(struct xdp_md *context)
{
	struct packet *packet = (void *)(long)context->data;
	__u8 mac[6];

	if ((void *)(packet + 1) > (void *)(long)context->data_end)
		return XDP_PASS;
	if (packet->eth.h_proto != bpf_htons(ETH_P_IP) || packet->ip.protocol != IPPROTO_UDP)
		return XDP_PASS;
	__builtin_memcpy(mac, packet->eth.h_dest, 6);
	__builtin_memcpy(packet->eth.h_dest, packet->eth.h_source, 6);
	__builtin_memcpy(packet->eth.h_source, mac, 6);
	__be32 address = packet->ip.saddr;
	packet->ip.saddr = packet->ip.daddr;
	packet->ip.daddr = address;
	/* PORT_FIRST is a multiple of 4. */
	__be16 port = packet->udp.source ^ bpf_htons(2);
	packet->udp.source = packet->udp.dest;
	packet->udp.dest = port;
	return XDP_TX;
}

char licence_name[] SEC("license") = "GPL";
