package confidential_test

import data.fleetgate.request.confidential

target(local) := [{"provider": "p", "model": "m", "local": local}]

test_restricted_stays if {
	count(confidential.deny) == 1 with input as {
		"agent": {"data": {"classification": "restricted"}},
		"model": {"targets": target(false)},
	}
}

test_restricted_may_use_local_models if {
	count(confidential.deny) == 0 with input as {
		"agent": {"data": {"classification": "restricted"}},
		"model": {"targets": target(true)},
	}
}

test_others_are_free if {
	count(confidential.deny) == 0 with input as {"agent": {"data": {}}, "model": {"targets": target(false)}}
}
