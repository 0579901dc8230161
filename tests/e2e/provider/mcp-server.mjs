// An MCP server with three tools, on any free port of loopback, which it prints.
import { createServer } from 'node:http';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { McpServer, createMcpHandler } from '@modelcontextprotocol/server';

const handler = createMcpHandler(() => {
  const server = new McpServer({ name: 'orders', version: '1.0.0' });
  for (const name of ['read_order', 'delete_order', 'löschen']) {
    server.registerTool(name, { description: name }, async () => ({
      content: [{ type: 'text', text: `ran ${name}` }],
    }));
  }
  return server;
});
const http = createServer(toNodeHandler(handler));
http.listen(0, '127.0.0.1', () => console.log(`127.0.0.1:${http.address().port}`));
