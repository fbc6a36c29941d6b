# METADATA
# title: A reply that asks for very many tool calls at once
# description: Runs dry; take the mode away to enforce it.
# custom:
#   mode: shadow
package fleetgate.response.bursts

most := 32

deny contains {
	"message": sprintf("the model asks for %d tool calls at once, %d are usual", [count(input.reply.tool_calls), most]),
	"rule": "tool-call-burst",
	"remedy": "Ask for less in one step.",
} if {
	count(input.reply.tool_calls) > most
}
