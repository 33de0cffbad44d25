package umbilical

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Metadata of a call: the task's id as "framework/sequence", and its signature.
const (
	taskKey      = "fairway-task"
	signatureKey = "fairway-signature"
)

// sign proves knowledge of the job's secret for one task id.
func sign(secret []byte, task string) string {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte("umbilical\n" + task))
	return hex.EncodeToString(m.Sum(nil))
}

func withCredentials(ctx context.Context, secret []byte, task string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, taskKey, task, signatureKey, sign(secret, task))
}

// authenticate returns the sequence of the task that a call comes from.
func authenticate(ctx context.Context, secret []byte) (framework string, sequence uint64, err error) {
	md, _ := metadata.FromIncomingContext(ctx)
	task, signature := one(md, taskKey), one(md, signatureKey)
	if len(secret) == 0 || !hmac.Equal([]byte(signature), []byte(sign(secret, task))) {
		return "", 0, status.Error(codes.Unauthenticated, "the task does not know the job's secret")
	}
	framework, sequence, err = parseTask(task)
	if err != nil {
		return "", 0, status.Error(codes.InvalidArgument, err.Error())
	}
	return framework, sequence, nil
}

func one(md metadata.MD, key string) string {
	if v := md.Get(key); len(v) == 1 {
		return v[0]
	}
	return ""
}

// parseTask splits "framework/sequence".
func parseTask(task string) (framework string, sequence uint64, err error) {
	i := strings.LastIndexByte(task, '/')
	if i <= 0 {
		return "", 0, fmt.Errorf("task id %q is not framework/sequence", task)
	}
	sequence, err = strconv.ParseUint(task[i+1:], 10, 64)
	if err != nil {
		return "", 0, fmt.Errorf("task id %q is not framework/sequence", task)
	}
	return task[:i], sequence, nil
}
