// A real OpenID provider (npm `oidc-provider`) that issues RFC 9068 access tokens to a machine, and
// logs people in for the client `app`, with a page that asks for a name and no password.
//
//   node provider.mjs PORT
//
// Prints its issuer on standard output once it listens. `POST /test/rotate` replaces its signing
// key: tokens are signed with a new one from then on. Earlier keys stay published, as the tokens
// that they signed have not expired.

import { createServer } from 'node:http';
import { generateKeyPair, randomUUID } from 'node:crypto';
import { promisify } from 'node:util';

import Provider, { interactionPolicy } from 'oidc-provider';

const TTL = { 'urn:short-lived': 1, 'https://app.example.com': 3 };
const generate = promisify(generateKeyPair);
// Notices of oidc-provider. Standard output has the issuer and nothing else.
console.info = console.error;

async function signingKey() {
  const { privateKey } = await generate('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg: 'RS256', use: 'sig' };
}

// Nobody is asked for consent, not even for a native client.
const policy = interactionPolicy.base();
policy.remove('consent');

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
      {
        client_id: 'app',
        client_secret: 'secret-of-the-app',
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        // A native client may use any port of the loopback address.
        application_type: 'native',
        redirect_uris: ['http://localhost/oauth2/callback'],
        post_logout_redirect_uris: ['http://localhost/'],
      },
    ],
    scopes: ['openid', 'orders:read'],
    cookies: { keys: ['signs the cookies'] },
    interactions: { url: (_ctx, interaction) => `/login/${interaction.uid}`, policy },
    loadExistingGrant: async ({ oidc }) => {
      const { accountId } = oidc.session;
      const grant = new oidc.provider.Grant({ accountId, clientId: oidc.client.clientId });
      grant.addOIDCScope('openid');
      for (const resource of [oidc.params.resource ?? []].flat()) grant.addResourceScope(resource, 'orders:read');
      await grant.save();
      return grant;
    },
    issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: async (ctx, form) => {
          ctx.body = `<title>Sign out</title>${form}<button form="op.logoutForm" name="logout" value="yes">Sign out</button>`;
        },
        postLogoutSuccessSource: async (ctx) => {
          ctx.body = '<title>Sign out</title>Signed out';
        },
      },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: async () => true,
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

// Shows a form for the name, and continues with what was entered.
async function login(provider, request, response) {
  if (request.method === 'GET') {
    response.setHeader('content-type', 'text/html');
    response.end('<title>Log in</title><form method="post"><input name="name"><button>Log in</button></form>');
    return;
  }
  const parts = [];
  for await (const part of request) parts.push(part);
  const accountId = new URLSearchParams(Buffer.concat(parts).toString()).get('name');
  await provider.interactionFinished(request, response, { login: { accountId } });
}

const server = createServer();
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', async () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  let current = await provider(issuer);
  server.on('request', async (request, response) => {
    if (request.method === 'POST' && request.url === '/test/rotate') {
      current = await provider(issuer);
      response.end();
    } else if (request.url.startsWith('/login/')) {
      await login(current, request, response);
    } else {
      current.callback()(request, response);
    }
  });
  console.log(issuer);
});
