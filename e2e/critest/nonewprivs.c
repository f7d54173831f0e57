/*
 * Prints the effective user id. Installed set-uid root in the image of the suite's NoNewPrivs specs: with
 * no_new_privs the bit has no effect, and the number is that of the user who ran it.
 */
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	return printf("Effective uid: %u\n", (unsigned int)geteuid()) < 0;
}
