# METADATA
# title: Data that is confidential is not carried out by a tool
# description: Refuses tool calls that send data to a host which is not ours, for agents whose data is confidential or restricted.
package fleetgate.tool_call.egress

guarded := {"confidential", "restricted"}

inside := {"localhost", "127.0.0.1", "::1"}

host(subject) := split(split(trim_prefix(trim_prefix(subject, "https://"), "http://"), "/")[0], ":")[0]

deny contains {
	"message": sprintf("agent %s must not send data out with %s", [input.agent.id, input.tool_call.name]),
	"rule": "no-egress",
	"remedy": "Send it to a host of your own, or have the classification lowered.",
} if {
	object.get(input.agent.data, "classification", "") in guarded
	some effect in input.tool_call.effects
	effect.kind == "net.send"
	target := host(effect.subject)
	not target in inside
}
