// A real OpenID provider (npm `oidc-provider`) that issues RFC 9068 access tokens to a machine.
//
//   node provider.mjs PORT
//
// Prints its issuer on standard output once it listens. `POST /test/rotate` replaces its signing
// key: tokens are signed with a new one from then on. Earlier keys stay published, as the tokens
// that they signed have not expired.

import { createServer } from 'node:http';
import { generateKeyPair, randomUUID } from 'node:crypto';
import { promisify } from 'node:util';

import Provider from 'oidc-provider';

const TTL = { 'urn:short-lived': 1 };
const generate = promisify(generateKeyPair);

async function signingKey() {
  const { privateKey } = await generate('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg: 'RS256', use: 'sig' };
}

const keys = [];

async function provider(issuer) {
  keys.unshift(await signingKey());
  return new Provider(issuer, {
    jwks: { keys },
    clients: [
      {
        client_id: 'machine',
        client_secret: 'secret',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
      },
    ],
    scopes: ['orders:read'],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_ctx, resource) => ({
          scope: 'orders:read',
          audience: resource,
          accessTokenFormat: 'jwt',
          accessTokenTTL: TTL[resource] ?? 600,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  });
}

const server = createServer();
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', async () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  let handle = (await provider(issuer)).callback();
  server.on('request', async (request, response) => {
    if (request.method === 'POST' && request.url === '/test/rotate') {
      handle = (await provider(issuer)).callback();
      response.end();
    } else {
      handle(request, response);
    }
  });
  console.log(issuer);
});
