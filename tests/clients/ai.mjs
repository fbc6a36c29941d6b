// The Vercel AI SDK. api: "chat", "responses", "compatible", "messages" or "gemini"; what: "text", "stream" or "tools".
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

const { url, key, model: name, api, what, prompt } = JSON.parse(process.env.CASE);
const v1 = { baseURL: `${url}/v1`, apiKey: key };
const models = {
  chat: () => createOpenAI(v1).chat(name),
  responses: () => createOpenAI(v1)(name),
  compatible: () => createOpenAICompatible({ name: "fleetgate", ...v1 })(name),
  messages: () => createAnthropic(v1)(name),
  gemini: () => createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey: key })(name),
};
const model = models[api]();

const ways = {
  async text() {
    return { text: (await generateText({ model, prompt })).text };
  },
  async stream() {
    const pieces = [];
    let failed;
    const result = streamText({ model, prompt, onError: ({ error }) => (failed = error) });
    for await (const piece of result.textStream) pieces.push(piece);
    if (failed) throw failed;
    return { text: pieces.join(""), pieces: pieces.length };
  },
  async tools() {
    let asked;
    const inputSchema = jsonSchema({ type: "object", properties: { city: { type: "string" } }, required: ["city"] });
    const execute = async (input) => {
      asked = input;
      return "4 °C";
    };
    const tools = { get_weather: tool({ description: "Weather", inputSchema, execute }) };
    const done = await generateText({ model, prompt, tools, stopWhen: stepCountIs(3) });
    return { asked, text: done.text };
  },
};

try {
  console.log(JSON.stringify(await ways[what]()));
} catch (e) {
  console.log(JSON.stringify({ error: e.message, status: e.statusCode, code: null }));
}
