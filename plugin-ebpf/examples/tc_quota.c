// SPDX-License-Identifier: MIT OR Apache-2.0
/* Lets a container send so many packets of ICMP and drops the rest, and counts what it receives: a
 * program for each direction, with one map of the old kind that both have in common.
 *
 *   clang -O2 -target bpf -I /usr/include/$(uname -m)-linux-gnu -c tc_quota.c -o tc_quota.o
 *
 * As labels: tc.program=tc_quota.o#quota, tc.direction=egress.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#ifndef QUOTA
#define QUOTA 3
#endif

/* What libbpf had before maps were defined by BTF, and iproute2 still has. */
struct bpf_map_def {
	unsigned int type;
	unsigned int key_size;
	unsigned int value_size;
	unsigned int max_entries;
	unsigned int map_flags;
};

struct bpf_map_def SEC("maps") seen = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(__u32),
	.value_size = sizeof(__u64),
	.max_entries = 2,
};

static __always_inline int is_icmp(struct __sk_buff *skb)
{
	struct iphdr ip;

	return skb->protocol == bpf_htons(ETH_P_IP) &&
	       !bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) && ip.protocol == IPPROTO_ICMP;
}

SEC("tc")
int quota(struct __sk_buff *skb)
{
	__u32 key = 0;
	__u64 *count = bpf_map_lookup_elem(&seen, &key);

	if (!count || !is_icmp(skb))
		return TC_ACT_OK;
	if (*count >= QUOTA)
		return TC_ACT_SHOT;
	__sync_fetch_and_add(count, 1);
	return TC_ACT_OK;
}

SEC("classifier")
int count(struct __sk_buff *skb)
{
	__u32 key = 1;
	__u64 *count = bpf_map_lookup_elem(&seen, &key);

	if (count && is_icmp(skb))
		__sync_fetch_and_add(count, 1);
	return TC_ACT_UNSPEC;
}

char _license[] SEC("license") = "Dual MIT/GPL";
