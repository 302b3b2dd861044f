package loop_test

import (
	"fmt"
	"log"
	"os"
	"time"

	"github.com/libloop/libloop/loop"
)

// A file is opened, read and closed without blocking, while a timer runs.
func Example() {
	l, err := loop.New(loop.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()

	name := os.TempDir() + "/libloop-example"
	if err := os.WriteFile(name, []byte("hello from a file"), 0o600); err != nil {
		log.Fatal(err)
	}
	defer os.Remove(name)

	var file, timer loop.Request
	buffer := make([]byte, 64)
	closed := func(r *loop.Request) { fmt.Println("closed:", r.Err()) }
	opened := func(r *loop.Request) {
		fd := int(r.Result())
		l.Read(r, fd, buffer, func(r *loop.Request) {
			fmt.Printf("read: %s\n", buffer[:r.Result()])
			l.CloseFd(r, fd, closed)
		})
	}
	l.Open(&file, name, os.O_RDONLY, 0, opened)
	l.StartTimer(&timer, 50*time.Millisecond, 0, func(*loop.Request) { fmt.Println("50 ms later") })

	if err := l.Run(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// read: hello from a file
	// closed: <nil>
	// 50 ms later
}
