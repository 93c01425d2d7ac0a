/* SPDX-License-Identifier: GPL-3.0-or-later */

/* agent.conf as enrolling changes it: one that could be read still can, and says what was put in.
 */

#include "agent/cli/conf_edit.h"
#include "agent/common/config.h"
#include "tests/fuzz/fuzz.h"

#define VM_ID "another-vm"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *path = scratch_file("agent.conf", data, size), *error = NULL,
			      *text = take_text(data, size), *edited_path = NULL, *value = NULL;
	_cleanup_(config_freep) struct config *config = NULL, *edited = NULL;

	if (config_load(path, &config, &error) != 0)
		return 0;
	CHECK(conf_set(&text, "agent", "vm_id", VM_ID) == 0);
	edited_path = scratch_file("edited.conf", text, strlen(text));
	CHECK(config_load(edited_path, &edited, &error) == 0);
	check_same_text(edited->vm_id, VM_ID);
	CHECK(edited->n_ports == config->n_ports && edited->mode == config->mode);
	check_same_text(edited->trust, config->trust);
	CHECK(conf_get(text, "agent", "vm_id", &value) == 0);
	check_same_text(value, VM_ID);

	CHECK(conf_unset(&text, "agent", "vm_id") == 0);
	free(TAKE_PTR(value));
	CHECK(conf_get(text, "agent", "vm_id", &value) == 0);
	CHECK(!value);
	return 0;
}
