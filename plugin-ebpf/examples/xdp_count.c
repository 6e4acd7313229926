// SPDX-License-Identifier: MIT OR Apache-2.0
/* Counts what a container sends, by the protocol, and drops what is over UDP to one port: as the
 * examples of the kernel do, with a map that is defined by its BTF.
 *
 *   clang -O2 -g -target bpf -I /usr/include/$(uname -m)-linux-gnu -c xdp_count.c -o xdp_count.o
 *
 * As a label: xdp.program=xdp_count.o, or xdp.program=xdp_count.o#count_only.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#ifndef FORBIDDEN_PORT
#define FORBIDDEN_PORT 7777
#endif

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} packets SEC(".maps");

static __always_inline int judge(struct xdp_md *ctx, int drops)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp;
	__u64 *count;
	__u32 protocol;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	protocol = ip->protocol;
	count = bpf_map_lookup_elem(&packets, &protocol);
	if (count)
		__sync_fetch_and_add(count, 1);
	if (protocol != IPPROTO_UDP || ip->ihl != 5)
		return XDP_PASS;
	udp = (void *)(ip + 1);
	if ((void *)(udp + 1) > end)
		return XDP_DROP;
	return drops && udp->dest == bpf_htons(FORBIDDEN_PORT) ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int count_and_drop(struct xdp_md *ctx)
{
	return judge(ctx, 1);
}

SEC("xdp/count_only")
int count_only(struct xdp_md *ctx)
{
	return judge(ctx, 0);
}

char _license[] SEC("license") = "Dual MIT/GPL";
