package api

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var codeOf = []struct {
	err  error
	code codes.Code
}{
	{ErrUnavailable, codes.Unavailable},
	{ErrDenied, codes.PermissionDenied},
	{ErrNotFound, codes.NotFound},
	{ErrInvalid, codes.InvalidArgument},
	{ErrExists, codes.AlreadyExists},
	{ErrFenced, codes.Aborted},
	{ErrSessionEnded, codes.FailedPrecondition},
	{context.Canceled, codes.Canceled},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
}

// ToStatus turns an error of this package into its gRPC status, keeping the text. Used at the server's edge only.
func ToStatus(err error) error {
	if err == nil {
		return nil
	}
	for _, c := range codeOf {
		if errors.Is(err, c.err) {
			return status.Error(c.code, err.Error())
		}
	}
	return status.Error(codes.Unknown, err.Error())
}

// wireError is an error that came over the wire: the peer's text, with the class that it had there.
type wireError struct {
	text  string
	class error
}

func (e *wireError) Error() string { return e.text }
func (e *wireError) Unwrap() error { return e.class }

// FromStatus is the reverse of ToStatus: errors.Is finds the class again. Errors that are no status are returned as
// they are.
func FromStatus(err error) error {
	s, ok := status.FromError(err)
	if !ok || err == nil {
		return err
	}
	for _, c := range codeOf {
		if s.Code() == c.code {
			return &wireError{text: s.Message(), class: c.err}
		}
	}
	if s.Code() == codes.Unauthenticated {
		return &wireError{text: s.Message(), class: ErrDenied}
	}
	return fmt.Errorf("broker: %s", s.Message())
}
