# Consul (1.22) makes the sidecar of a service ask claimgate.
#
#   consul config write deploy/callers/consul.hcl
#
# claimgate has to be a service of the mesh, registered with `protocol = "grpc"`. A sidecar that already has
# connections keeps them on the old filters until they drain: docs/callers.md.
Kind     = "service-defaults"
# CHANGE: the service that is to be guarded.
Name     = "orders-api"
Protocol = "http"
# Never `permissive`. `AllowEnablingPermissiveMutualTLS = false` in the `mesh` entry refuses it.
MutualTLSMode = "strict"

EnvoyExtensions = [
  {
    Name      = "builtin/ext-authz"
    # If Consul cannot apply the extension, it keeps the listener back. Without this line, it leaves the check out.
    # It guards connections with mutual TLS only: with `MutualTLSMode = "permissive"`, plain ones pass unchecked.
    # No `EnvoyVersion` and `ConsulVersion`: where they do not match, Consul may leave the check out all the same.
    Required  = true
    Arguments = {
      ProxyType = "connect-proxy"
      Config = {
        GrpcService = {
          # `URI` takes addresses on this machine only.
          Target  = { Service = { Name = "claimgate" } }
          Timeout = "500ms"
        }
        # If claimgate cannot be reached, no request passes. Never `FailureModeAllow = true`.
        StatusOnError = 503
      }
    }
  }
]
