/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * What there is to compare a submission with, each the median in microseconds:
 *
 *   scale NAMESPACE TRUST DOCUMENTS DIRECTORY
 *
 * One process of nft(8) that adds an element to a set; an element over a netlink socket that is
 * held open; reading and verifying a document; appending a record to a file in DIRECTORY and
 * syncing it.
 */

#include <netinet/in.h>
#include <libnftnl/set.h>
#include <linux/netfilter/nf_tables.h>
#include <spawn.h>
#include <stdbool.h>
#include <sys/wait.h>

#include "agent/common/document.h"
#include "agent/common/trust.h"
#include "nft/netlink.h"
#include "nft/transaction.h"
#include "tests/bench/bench.h"

#define TABLE "scale"
#define SET "grants"
#define PROCESSES 40
#define REPETITIONS 300
#define RECORD_BYTES 700

static void run_nft(char *command)
{
	char *const arguments[] = { "nft", command, NULL };
	extern char **environ;
	pid_t pid;
	int status;

	if (posix_spawnp(&pid, "nft", NULL, NULL, arguments, environ) != 0 ||
		waitpid(pid, &status, 0) < 0 || status != 0)
		errx(EXIT_FAILURE, "nft %s: failed", command);
}

static void report(const char *what, struct samples *samples)
{
	printf("%s %.1f\n", what, samples_quantile(samples, 0.5));
}

static void time_nft(void)
{
	struct samples samples = {};
	char command[256];

	run_nft("add table inet " TABLE);
	run_nft("add set inet " TABLE " " SET
		" { typeof ip saddr . meta l4proto . th dport; flags timeout; }");
	for (int i = 0; i < PROCESSES; i++) {
		double from = now_ns();

		snprintf(command, sizeof(command),
			"add element inet " TABLE " " SET " { 192.0.2.%d . tcp . 22 timeout 1h }",
			i);
		run_nft(command);
		samples_add(&samples, (now_ns() - from) / 1000);
	}
	report("nft", &samples);
}

static void add_element(struct netlink *netlink, uint32_t number)
{
	const uint32_t key[3] = { htobe32(0x0a000000 + number), 6, htobe16(22) };
	_cleanup_(transaction_freep) struct transaction *transaction = NULL;
	struct nftnl_set *set = nftnl_set_alloc();
	struct nftnl_set_elem *element = nftnl_set_elem_alloc();
	const char *what;

	nftnl_set_set_str(set, NFTNL_SET_TABLE, TABLE);
	nftnl_set_set_str(set, NFTNL_SET_NAME, SET);
	nftnl_set_elem_set(element, NFTNL_SET_ELEM_KEY, key, sizeof(key));
	nftnl_set_elem_set_u64(element, NFTNL_SET_ELEM_TIMEOUT, 3600000);
	nftnl_set_elem_add(set, element);
	if (transaction_new(&transaction) < 0 ||
		transaction_add_elements(transaction, NFT_MSG_NEWSETELEM, set, 1, SET) < 0 ||
		transaction_commit(transaction, netlink, &what) < 0)
		errx(EXIT_FAILURE, "can't add an element");
	nftnl_set_free(set);
}

static void time_netlink(void)
{
	_cleanup_(netlink_freep) struct netlink *netlink = NULL;
	struct samples samples = {};

	if (netlink_open(NETLINK_NETFILTER, 0, &netlink) < 0)
		errx(EXIT_FAILURE, "netlink");
	for (uint32_t i = 0; i < REPETITIONS; i++) {
		double from = now_ns();

		add_element(netlink, i);
		samples_add(&samples, (now_ns() - from) / 1000);
	}
	report("netlink", &samples);
}

static void time_verify(const char *trust_path, const char *documents)
{
	_cleanup_(trust_freep) struct trust *trust = NULL;
	_cleanup_(fclosep) FILE *file = fopen(documents, "re");
	_cleanup_(freep) char *error = NULL;
	struct samples samples = {};
	char text[32768];

	if (!file || trust_load(trust_path, &trust, &error) < 0 || !fgets(text, sizeof(text), file))
		errx(EXIT_FAILURE, "%s: %s", documents, error ? error : "can't read it");
	text[strcspn(text, "\n")] = '\0';
	for (int i = 0; i < REPETITIONS; i++) {
		_cleanup_(document_freep) struct document *document = NULL;
		struct refusal refusal;
		double from = now_ns();

		if (document_read(text, strlen(text), trust, "bench", &document, &refusal) != 0)
			errx(EXIT_FAILURE, "%s: does not verify", documents);
		samples_add(&samples, (now_ns() - from) / 1000);
	}
	report("verify", &samples);
}

static void time_sync(const char *directory)
{
	char path[512], record[RECORD_BYTES];
	struct samples samples = {};
	int fd;

	snprintf(path, sizeof(path), "%s/sync", directory);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		err(EXIT_FAILURE, "%s", path);
	memset(record, '\n', sizeof(record));
	for (int i = 0; i < REPETITIONS; i++)
		if (pwrite(fd, record, sizeof(record), i * RECORD_BYTES) < 0)
			err(EXIT_FAILURE, "%s", path);
	fsync(fd);
	for (int i = 0; i < REPETITIONS; i++) {
		double from = now_ns();

		if (pwrite(fd, record, sizeof(record), i * RECORD_BYTES) < 0 || fdatasync(fd) < 0)
			err(EXIT_FAILURE, "%s", path);
		samples_add(&samples, (now_ns() - from) / 1000);
	}
	close(fd);
	unlink(path);
	report("sync", &samples);
}

int main(int argc, char **argv)
{
	if (argc != 5)
		errx(2, "usage: scale NAMESPACE TRUST DOCUMENTS DIRECTORY");
	namespace_enter(argv[1]);
	time_nft();
	time_netlink();
	time_verify(argv[2], argv[3]);
	time_sync(argv[4]);
	return EXIT_SUCCESS;
}
