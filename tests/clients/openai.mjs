// OpenAI's own SDK. api: "chat" or "responses"; what: "text", "stream" or "tools".
import OpenAI from "openai";

const { url, key, model, api, what, prompt } = JSON.parse(process.env.CASE);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key });
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const weather = { name: "get_weather", description: "Weather", parameters: schema };

const chat = {
  async text(messages) {
    const done = await client.chat.completions.create({ model, messages });
    return { text: done.choices[0].message.content };
  },
  async stream(messages) {
    const pieces = [];
    for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) {
      if (chunk.choices[0]?.delta.content) pieces.push(chunk.choices[0].delta.content);
    }
    return { text: pieces.join(""), pieces: pieces.length };
  },
  async tools(messages) {
    const tools = [{ type: "function", function: weather }];
    const asked = (await client.chat.completions.create({ model, messages, tools })).choices[0].message;
    const [call] = asked.tool_calls;
    const turn = [...messages, asked, { role: "tool", tool_call_id: call.id, content: "4 °C" }];
    const done = await client.chat.completions.create({ model, messages: turn, tools });
    return { asked: JSON.parse(call.function.arguments), text: done.choices[0].message.content };
  },
};

const responses = {
  async text(input) {
    return { text: (await client.responses.create({ model, input })).output_text };
  },
  async stream(input) {
    const pieces = [];
    for await (const event of await client.responses.create({ model, input, stream: true })) {
      if (event.type === "response.output_text.delta") pieces.push(event.delta);
    }
    return { text: pieces.join(""), pieces: pieces.length };
  },
  async tools(input) {
    const tools = [{ type: "function", strict: false, ...weather }];
    const asked = await client.responses.create({ model, input, tools });
    const call = asked.output.find((item) => item.type === "function_call");
    const turn = [...input, ...asked.output, { type: "function_call_output", call_id: call.call_id, output: "4 °C" }];
    const done = await client.responses.create({ model, input: turn, tools });
    return { asked: JSON.parse(call.arguments), text: done.output_text };
  },
};

try {
  console.log(JSON.stringify(await { chat, responses }[api][what]([{ role: "user", content: prompt }])));
} catch (e) {
  console.log(JSON.stringify({ error: e.message, status: e.status, code: e.code }));
}
