// Google's own SDK. what: "text", "stream" or "tools".
import { GoogleGenAI } from "@google/genai";

const { url, key, model, what, prompt } = JSON.parse(process.env.CASE);
const client = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: url } });
const parameters = { type: "OBJECT", properties: { city: { type: "STRING" } }, required: ["city"] };
const config = { tools: [{ functionDeclarations: [{ name: "get_weather", description: "Weather", parameters }] }] };

const ways = {
  async text(contents) {
    return { text: (await client.models.generateContent({ model, contents })).text };
  },
  async stream(contents) {
    const pieces = [];
    for await (const chunk of await client.models.generateContentStream({ model, contents })) if (chunk.text) pieces.push(chunk.text);
    return { text: pieces.join(""), pieces: pieces.length };
  },
  async tools(contents) {
    const asked = await client.models.generateContent({ model, contents, config });
    const [call] = asked.functionCalls;
    const functionResponse = { id: call.id, name: call.name, response: { output: "4 °C" } };
    const turn = [...contents, asked.candidates[0].content, { role: "user", parts: [{ functionResponse }] }];
    return { asked: call.args, text: (await client.models.generateContent({ model, contents: turn, config })).text };
  },
};

try {
  console.log(JSON.stringify(await ways[what]([{ role: "user", parts: [{ text: prompt }] }])));
} catch (e) {
  console.log(JSON.stringify({ error: e.message, status: e.status, code: null }));
}
