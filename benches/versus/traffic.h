/* What the traffic programs in the kernel and their user share. */
#ifndef TANDEM_TRAFFIC_H
#define TANDEM_TRAFFIC_H

/* Legs are numbered by the port the phone receives on: PORT_FIRST + 2 * leg. */
#define PORT_FIRST 10000
#define LEGS_MAX 8192
#define RTP_BYTES 172
#define HEADERS_BYTES (14 + 20 + 8)
#define FRAME_BYTES (HEADERS_BYTES + RTP_BYTES)
/* Latency histogram: buckets of 2^11 ns. */
#define BUCKET_SHIFT 11
#define BUCKETS 8192

/* Frames are released at this interval, as a NIC's interrupt coalescing would ... */
#define RELEASE_NS 131000ull
/* ... and never more at once than a veth's ring holds. */
#define BURST_MAX 220ull

/* Frames between two looks at whether the sink wants the core, and looks at the clock of a frame with
 * nothing to do. */
#define BATCH 16
#define LOOKS 64

struct leg {
	/* Where the phone is and where it sends; network byte order. */
	__u32 source, target;
	__u16 source_port, target_port;
	__u16 ip_check;
	__u16 seq;
	/* Number of the next packet to send, and of the next to be heard from the other leg. */
	__u32 next, expected;
	__u32 heard;
	__u32 out_seq;
};

struct control {
	/* Legs in use: first .. first + count. */
	__u32 first, count, next, interface;
	__u8 from[6], to[6];
	__u32 mark;
	/* When the run began (0: with its first packet), what is released at a time (in 1/1000 packets),
	 * what was given up because the machine stood still, how often, and runs with nothing to send. */
	__u64 start, release_milli, skipped, cuts, idle;
	__u64 sent, received, late, lost, wrong_source, wrong_length, wrong_partner, wrong_sequence;
	__u64 other, latency_sum;
};

#endif
