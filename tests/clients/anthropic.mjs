// Anthropic's own SDK. what: "text", "stream" or "tools".
import Anthropic from "@anthropic-ai/sdk";

const { url, key, model, what, prompt } = JSON.parse(process.env.CASE);
const client = new Anthropic({ baseURL: url, apiKey: key });
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ name: "get_weather", description: "Weather", input_schema: schema }];
const base = { model, max_tokens: 100 };

function textOf(message) {
  return message.content.filter((block) => block.type === "text").map((block) => block.text).join("");
}

const ways = {
  async text(messages) {
    return { text: textOf(await client.messages.create({ ...base, messages })) };
  },
  async stream(messages) {
    const pieces = [];
    const stream = client.messages.stream({ ...base, messages }).on("text", (text) => pieces.push(text));
    await stream.finalMessage();
    return { text: pieces.join(""), pieces: pieces.length };
  },
  async tools(messages) {
    const asked = await client.messages.create({ ...base, messages, tools });
    const call = asked.content.find((block) => block.type === "tool_use");
    const result = { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: "4 °C" }] };
    const turn = [...messages, { role: "assistant", content: asked.content }, result];
    return { asked: call.input, text: textOf(await client.messages.create({ ...base, messages: turn, tools })) };
  },
};

try {
  console.log(JSON.stringify(await ways[what]([{ role: "user", content: prompt }])));
} catch (e) {
  console.log(JSON.stringify({ error: e.message, status: e.status, code: e.type }));
}
