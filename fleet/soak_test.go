package fleet_test

import (
	"context"
)

func (r *replica) visits(ctx context.Context, request replicaRequest) replicaAnswer {
	return replicaAnswer{}
}
