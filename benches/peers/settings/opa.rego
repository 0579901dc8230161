# Verifies tokens as OPA's documents do (Policy Reference, Tokens; "http.send" with `force_cache` for the keys).
package bench

keys := http.send({
	"method": "GET",
	"url": "{jwks}",
	"force_cache": true,
	"force_cache_duration_seconds": 3600,
}).raw_body

token := trim_prefix(input.attributes.request.http.headers.authorization, "Bearer ")

verified := io.jwt.decode_verify(token, {
	"cert": keys,
	"alg": "RS256",
	"iss": "{issuer}",
	"aud": "orders-api",
})

default answer := {"allowed": false, "http_status": 401}

answer := {"allowed": true, "headers": {"x-auth-subject": verified[2].sub}} if verified[0]
