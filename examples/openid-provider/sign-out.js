// The application has shown whose session is to end, so nobody is asked. Without scripts the button is there to press.
document.querySelector('button')?.click()
