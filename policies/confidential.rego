# METADATA
# title: What is confidential stays on our own machines
# description: An agent whose data is restricted may only use local models; of one whose data is confidential that is only noted.
package fleetgate.request.confidential

classification := object.get(input.agent.data, "classification", "")

abroad if {
	some target in input.model.targets
	not target.local
}

deny contains {
	"message": "restricted data may be sent to local models only",
	"rule": "restricted-stays-local",
	"remedy": "Ask for a model whose provider is local.",
} if {
	classification == "restricted"
	abroad
}

warn contains "confidential data leaves for a provider" if {
	classification == "confidential"
	abroad
}
