// Lists the tools of the MCP server at URL and calls some: node mcp-client.mjs URL TOKEN TOOL…
// Prints a JSON array: the names of the tools, then for each call what it returned or why it failed.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

const [url, token, ...tools] = process.argv.slice(2);
const client = new Client(
  { name: 'tester', version: '1.0.0' },
  { versionNegotiation: { mode: { pin: '2026-07-28' } } },
);
const headers = { authorization: `Bearer ${token}` };
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
const listed = await client.listTools();
const outcomes = [listed.tools.map((tool) => tool.name)];
for (const name of tools) {
  try {
    const answer = await client.callTool({ name, arguments: {} });
    outcomes.push(answer.content[0].text);
  } catch (error) {
    outcomes.push(String(error.message));
  }
}
await client.close();
console.log(JSON.stringify(outcomes));
