// oidc-provider, OpenID-certified, with the four paths of the Pieces Auth0 API.
// It listens on a free port of 127.0.0.1, prints its issuer as the first line of
// stdout, and ends when its standard input does, so it never outlives a test.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });

// A native client may use any port of a loopback address (RFC 8252 §7.3);
// oidc-provider implements that, so paths are registered and ports are not.
const loopback = (path) => ['127.0.0.1', 'localhost', '[::1]'].map((host) => `http://${host}${path}`);

const configuration = {
  routes: {
    authorization: '/authorize',
    token: '/oauth/token',
    userinfo: '/userinfo',
    end_session: '/v2/logout',
    jwks: '/.well-known/jwks.json',
  },
  clients: [{
    client_id: 'pieces-e2e',
    client_name: 'piecesauth e2e',
    application_type: 'native',
    token_endpoint_auth_method: 'none',
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    redirect_uris: ['/', '/callback', '/auth/callback', '/pkce/response/code'].flatMap(loopback),
    post_logout_redirect_uris: ['/', '/signed-out'].flatMap(loopback),
  }],
  scopes: ['openid', 'profile', 'email', 'offline_access'],
  claims: {
    openid: ['sub'],
    profile: ['name', 'nickname', 'picture', 'updated_at'],
    email: ['email', 'email_verified'],
  },
  async findAccount(_ctx, id) {
    return {
      accountId: id,
      claims: async () => ({
        sub: id,
        name: `${id} of e2e`,
        nickname: id,
        picture: 'https://example.com/picture.png',
        updated_at: 1700000000,
        email: `${id}@example.com`,
        email_verified: true,
      }),
    };
  },
  // Auth0 takes an audience with the request, and gives a refresh token without
  // prompt=consent; out of the box oidc-provider does neither.
  extraParams: ['audience'],
  issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed('refresh_token'),
  expiresWithSession: async () => false,
  // Each use gives a new refresh token; a used one revokes the whole grant.
  rotateRefreshToken: true,
  // One person's tokens may expire soon, so that nobody else's refresh is under way when a test kills a program.
  ttl: { AccessToken: (_ctx, token) => (token.accountId === 'carol' && Number(process.env.CAROLS_TOKEN_TTL)) || 3600 },
  pkce: { required: () => true },
  features: {
    devInteractions: { enabled: true },
    resourceIndicators: { enabled: false },
    webMessageResponseMode: { enabled: true, ack: 'individual-draft-01' },
  },
  cookies: { keys: [randomBytes(32).toString('hex')] },
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: 'e2e', alg: 'RS256', use: 'sig' }] },
};

// What the token endpoint did, by account, for the tests to ask for at /seen.
const seen = { refreshed: {}, expires: {}, refused: [] };
const watch = (provider) => {
  provider.on('grant.success', ({ oidc }) => {
    if (oidc.params.grant_type === 'refresh_token') {
      const { accountId } = oidc.entities.Account;
      seen.refreshed[accountId] = (seen.refreshed[accountId] ?? 0) + 1;
    }
  });
  provider.on('grant.error', (_ctx, error) => seen.refused.push(error.message));
  // A token just saved has no exp yet.
  provider.on('access_token.saved', ({ accountId, remainingTTL }) => {
    seen.expires[accountId] = Math.ceil(Date.now() / 1000) + remainingTTL;
  });
  return provider;
};

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}/`; // ends in a slash, as Auth0's do
  const callback = watch(new Provider(issuer, configuration)).callback();
  server.on('request', (req, res) => {
    // Auth0 calls the parameter returnTo; the rest of the logout is oidc-provider's.
    const url = new URL(req.url, issuer);
    const returnTo = url.searchParams.get('returnTo');
    if (url.pathname === '/v2/logout' && returnTo !== null) {
      url.searchParams.delete('returnTo');
      url.searchParams.set('post_logout_redirect_uri', returnTo);
      req.url = url.pathname + url.search;
    }
    if (url.pathname === '/seen') {
      res.end(JSON.stringify(seen));
      return;
    }
    callback(req, res);
  });
  console.log(issuer);
});

process.stdin.resume().on('end', () => process.exit(0));
